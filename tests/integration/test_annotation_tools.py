"""docs/howto/annotate.md, run with datumaro, Label Studio's converter and supervision as readers.

They are installed by `make test` in a folder beside the other packages (`tests/readers.txt`), and run in processes of
their own, since they change settings of NumPy and Pillow.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.types import FrameType, UInt8Array
from service.writers.ndjson import RleWriter
from service.writers.png import PngWriter, encode_mask
from service.writers.report import ReportWriter
from tests.support.fake_cvat import TASK, TOKEN, fake_cvat
from tests.support.paths import ROOT
from tests.support.serving import FRAMES, Served, served
from vos.types import FrameMask, MaskSource

READERS = Path(sys.prefix) / "readers"
PAGE = ROOT / "docs" / "howto" / "annotate.md"
TASK_LABELS = {"dog", "person"}

pytestmark = pytest.mark.skipif(
    not (READERS / "datumaro").is_dir(), reason=f"{READERS} is missing; `make test` installs it from tests/readers.txt"
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("tools")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, service: Served) -> Path:
    """A folder with the files that the page names."""
    (tmp_path / "dog.mp4").write_bytes(service.clip.read_bytes())
    (tmp_path / "dog_first.png").write_bytes(encode_mask(two_objects()))
    return tmp_path


def two_objects() -> UInt8Array:
    """Return labels [48, 64] with the objects 1 and 2."""
    labels = np.zeros((48, 64), np.uint8)
    labels[25:40, 31:60] = 1
    labels[4:20, 8:30] = 2
    return labels


def block(after: str, number: int = 0) -> str:
    """Return Python of a section of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {after}\n")[1].split("\n## ")[0]
    found = re.findall(r"^( *)```python\n(.*?)^ *```", section, flags=re.DOTALL | re.MULTILINE)[number]
    return re.sub(f"^{found[0]}", "", found[1], flags=re.MULTILINE)


def run(program: str, folder: Path, service: Served) -> str:
    """Run Python with the readers, and return what it printed."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "client", READERS)))
    environment = {**os.environ, "PYTHONPATH": path, "KEYMASK_URL": str(service.client.base_url)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


READ_COCO = """
import json, sys
import datumaro, numpy
dataset = datumaro.Dataset.import_from(sys.argv[1] if sys.argv[1:] else "dog", "coco_instances")
names = [label.name for label in dataset.categories()[datumaro.AnnotationType.label]]
found = []
for item in dataset:
    for mask in item.annotations:
        if mask.type is datumaro.AnnotationType.mask:
            found.append([item.id, names[mask.label], numpy.flatnonzero(mask.image).tolist()])
print(json.dumps(found))
"""


def check_masks(found: list[Any]) -> None:
    """Check that the masks of all frames are those of the prompt, under numbers and names that CVAT accepts."""
    expected = {
        "dog": np.flatnonzero(two_objects() == 1).tolist(),
        "person": np.flatnonzero(two_objects() == 2).tolist(),
    }
    assert sorted((int(frame), name) for frame, name, _ in found) == [
        (frame, name) for frame in range(FRAMES) for name in sorted(TASK_LABELS)
    ]
    assert all(pixels == expected[name] for _, name, pixels in found)


def test_cvat_s_mask_is_read_and_its_labels_are_kept(folder: Path, service: Served) -> None:
    """An export of CVAT is an RGB picture that keymask reads; the COCO file has its labels, frames and masks."""
    make_export = """
import datumaro, numpy
from PIL import Image
labels = numpy.asarray(Image.open("dog_first.png"))
masks = [datumaro.Mask(image=labels == i, label=i - 1, group=3 - i, id=3 - i) for i in (1, 2)]
picture = datumaro.Image.from_numpy(data=numpy.zeros((48, 64, 3), numpy.uint8))
item = datumaro.DatasetItem(id="frame_000000", media=picture, annotations=masks)
dataset = datumaro.Dataset.from_iterable([item], categories=["dog", "person"], media_type=datumaro.Image)
dataset.export("export", "voc_segmentation")
"""
    run(make_export, folder, service)
    exported = folder / "export" / "SegmentationObject" / "frame_000000.png"
    with Image.open(exported) as picture:
        assert picture.mode == "RGB"
        assert len(picture.getcolors() or ()) == 3
    exported.rename(folder / "frame_000000.png")
    assert "#008000" in run(block("CVAT", 1), folder, service)
    (folder / "dog" / "annotations").mkdir(parents=True)
    (folder / "dog" / "images").mkdir()
    (folder / "dog_coco.json").rename(folder / "dog" / "annotations" / "instances_default.json")
    check_masks(json.loads(run(READ_COCO, folder, service)))


def test_datumaro_reads_and_converts_coco(folder: Path, service: Served) -> None:
    """The folder of the page is a data set for datumaro, and its conversion has a picture of masks per frame."""
    options = json.dumps({"labels": {"1": "dog", "2": "person"}})
    job = service.post(mask=(folder / "dog_first.png").read_bytes(), options=options, prefer="wait=60").json()
    (folder / "dog" / "annotations").mkdir(parents=True)
    (folder / "dog" / "images").mkdir()
    coco = service.client.get(f"/v1/jobs/{job['id']}/result?format=coco").content
    (folder / "dog" / "annotations" / "instances_default.json").write_bytes(coco)
    check_masks(json.loads(run(READ_COCO, folder, service)))
    run(block("datumaro"), folder, service)
    converted = sorted((folder / "dog_voc" / "SegmentationObject").iterdir())
    assert len(converted) == FRAMES
    with Image.open(converted[-1]) as picture:
        assert (np.asarray(picture.convert("RGB")).any(axis=2) == (two_objects() > 0)).all()


def test_label_studio_decodes_the_brush_masks(folder: Path, service: Served) -> None:
    """Label Studio's decoder returns each mask of the file that the page downloads."""
    run(block("Label Studio"), folder, service)
    decode = """
import json
from label_studio_sdk.converter import brush
found = []
for task in json.load(open("tasks.json")):
    for r in task["predictions"][0]["result"]:
        (layer,) = brush.decode_from_annotation("brush", [r | r["value"]]).values()
        found.append([task["data"]["frame"], r["value"]["brushlabels"][0], layer.shape, layer.ravel().tolist()])
print(json.dumps(found))
"""
    found = json.loads(run(decode, folder, service))
    expected = {"dog": two_objects() == 1, "person": two_objects() == 2}
    assert [(frame, name) for frame, name, _, _ in found] == [(i, name) for i in range(FRAMES) for name in expected]
    for _, name, shape, alpha in found:
        assert shape == [48, 64]
        assert np.array_equal(np.array(alpha).reshape(48, 64), np.where(expected[name], 255, 0))


def test_label_studio_decodes_runs_of_any_length(folder: Path, service: Served) -> None:
    """Runs of one pixel, of whole pictures, and those at the limits of the four kinds of lengths."""
    compare = """
import numpy
from label_studio_sdk.converter import brush
from service.writers.annotations.label_studio_brush import packed
random = numpy.random.default_rng(1)
lengths = numpy.repeat(numpy.array([1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 40000]), 2)
runs = numpy.repeat(numpy.arange(len(lengths)) % 2 == 1, lengths)
masks = [numpy.zeros((3, 5), bool), numpy.ones((150, 200), bool), random.random((9, 7)) < 0.5, runs.reshape(1, -1)]
for mask in masks:
    decoded = brush.decode_rle(packed(mask)).reshape(*mask.shape, 4)
    assert (decoded == numpy.where(mask, 255, 0)[..., None]).all(), mask.shape
"""
    run(compare, folder, service)


def test_supervision_takes_the_masks(folder: Path, service: Served) -> None:
    """Detections have the masks, boxes, scores and names of the objects, as run lengths and as dense masks."""
    describe = """
import json
def described(found):
    masks = [supervision.mask_to_xyxy(numpy.asarray(found.mask)).tolist(), numpy.asarray(found.mask).tolist()]
    names = found.data["class_name"].tolist()
    return [names, found.tracker_id.tolist(), found.class_id.tolist(), found.xyxy.tolist(), *masks]
import numpy
compact = track[-1].to_detections(names)
assert isinstance(compact.mask, supervision.CompactMask)
assert numpy.allclose(compact.confidence, [item.score for item in track[-1].objects])
del supervision.CompactMask.from_coco_rle
dense = track[-1].to_detections({1: "dog", 2: "dog"})
assert isinstance(dense.mask, numpy.ndarray)
empty = track[-1].model_copy(update={"objects": ()}).to_detections()
print(json.dumps([described(compact), described(dense), len(empty)]))
"""
    compact, dense, empty = json.loads(run(block("supervision") + describe, folder, service))
    masks = np.array([two_objects() == 1, two_objects() == 2])
    boxes = [[31, 25, 59, 39], [8, 4, 29, 19]]
    assert compact[:-1] == [["dog", "person"], [1, 2], [1, 2], boxes, boxes]
    assert dense[:-1] == [["dog", "dog"], [1, 2], [1, 1], boxes, boxes]
    assert np.array_equal(compact[-1], masks)
    assert np.array_equal(dense[-1], masks)
    assert empty == 0


def test_masks_are_uploaded_into_a_task_of_cvat(tmp_path: Path) -> None:
    """Every frame that the task has gets the masks under the labels of their names; other annotations are replaced."""
    write_result(tmp_path)
    meta: dict[str, Any] = {"start_frame": 2, "size": 4, "frame_filter": "step=2"}
    labels = {"person": "any", "dog": "mask"}
    with fake_cvat(labels, **meta) as one, fake_cvat(labels, **meta) as other:
        one.shapes.append({"frame": 0})
        calls = [[tmp_path, "--url", one.url, "--replace"], [tmp_path / "masks.ndjson", "--url", other.url]]
        done = export_cvat(*([*call, "--labels", "1=dog,2=person"] for call in calls))
        assert done.stdout.splitlines()[-1] == "[0, 0]", done.stderr
        assert done.stdout.count("8 masks in 4 frames of task 7; 8 frames are not in the task") == 2
        for cvat in (one, other):
            found = cvat.masks(48, 64)
            assert sorted(found) == [(frame, label) for frame in range(4) for label in (11, 12)]
            for (frame, label), mask in found.items():
                assert np.array_equal(mask, np.roll(two_objects(), 2 + 2 * frame, axis=1) == {11: 2, 12: 1}[label])
            assert all(shape["score"] == 0.5 for shape in cvat.shapes)


def test_a_track_is_uploaded_into_a_task_of_cvat(
    folder: Path, service: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client uploads alike, under the labels of the job or others; what CVAT does not take is an error."""
    monkeypatch.setenv("CVAT_TOKEN", TOKEN)
    (folder / "dog_first.png").rename(folder / "frame_000000.png")
    with fake_cvat({"person": "any", "dog": "mask", "boat": "polygon"}, start_frame=2, size=4) as cvat:
        cvat.shapes.append({"frame": 0})
        shown = block("CVAT").replace("to_cvat(12,", f"to_cvat({TASK}, url={cvat.url!r}, replace=True,")
        refused = f"""
for given in ({{"labels": {{1: "boat", 2: "dog"}}}}, {{"token": "wrong"}}):
    try:
        track.to_cvat({TASK}, **({{"token": os.environ["CVAT_TOKEN"], "url": {cvat.url!r}}} | given))
    except keymask.KeymaskError as error:
        print(type(error).__name__, error)
"""
        lines = run("import keymask\n" + shown + refused, folder, service).splitlines()
        found = cvat.masks(48, 64)
    assert lines[0] == f"8 masks in 4 frames, {FRAMES - 4} left out"
    assert lines[1].startswith("InvalidArgumentError every object needs a label of its name"), lines
    assert lines[2].startswith(f"CvatError CVAT at {cvat.url} answers 401"), lines
    assert sorted(found) == [(frame, label) for frame in range(4) for label in (11, 12)]
    assert all(np.array_equal(mask, two_objects() == {11: 2, 12: 1}[label]) for (_, label), mask in found.items())


def test_what_cvat_does_not_take_is_one_line(tmp_path: Path) -> None:
    """A missing label names both sides, as does a label of another type; nothing is sent."""
    write_result(tmp_path)
    cases = {
        ("--labels", "1=cat,2=dog"): "the objects are cat, dog; the labels of task 7 are dog (mask), boat (polygon)",
        ("--labels", "1=dog,2=boat"): "the objects are dog, boat; the labels of task 7 are dog (mask), boat (polygon)",
        ("--labels", "1=dog,2=dog", "--token", "wrong"): "answers 401: ",
        ("--labels", "1=dog,2=dog", "--task", "8"): "answers 404: ",
        ("--labels", "1=dog,2=dog", "--url", "http://127.0.0.1:9"): "cannot be used: ",
    }
    with fake_cvat({"dog": "mask", "boat": "polygon"}) as cvat:
        done = export_cvat(*([tmp_path, "--url", cvat.url, *given] for given in cases))
    assert done.stdout.strip() == "[2, 2, 1, 1, 1]"
    lines = done.stderr.splitlines()
    assert len(lines) == len(cases), lines
    assert all(said in line for said, line in zip(cases.values(), lines, strict=True)), lines
    assert not cvat.shapes


def write_result(folder: Path) -> None:
    """Write a folder of results and JSON lines, in which both objects move by a pixel per frame."""
    report = ReportWriter(folder / "report.json")
    writers = [RleWriter(folder / "masks.ndjson"), PngWriter(folder / "masks"), report]
    for index in range(FRAMES):
        labels = np.roll(two_objects(), index, axis=1)
        mask = FrameMask(index, index, index / 25, FrameType.P, MaskSource.KEY, labels, {1: 0.5, 2: 0.5})
        for writer in writers:
            writer.write(mask)
    report.finish({"complete": True, "prompt": [{"object": 1}, {"object": 2}], "options": {}})
    for writer in writers:
        writer.close()


def export_cvat(*calls: list[Any]) -> subprocess.CompletedProcess[str]:
    """Run `keymask export cvat` with CVAT's SDK, once per call, in one process; it prints the exit codes at last."""
    given = [["export", "cvat", "--task", str(TASK), "--token", TOKEN, *map(str, call)] for call in calls]
    program = "import json, sys; from service.cli.main import main; print([main(c) for c in json.loads(sys.argv[1])])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, READERS)))}
    command = [sys.executable, "-c", program, json.dumps(given)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
