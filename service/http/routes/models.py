"""`/v1/models`: the networks there are."""

from __future__ import annotations

from fastapi import APIRouter

from service.http.context import Services
from service.http.dependencies import COMMON, CallerDep, ServicesDep
from service.http.problem_responses import documented
from service.http.schemas import ModelList, ModelView
from service.threads import in_thread
from vos.weights.catalog import MODELS, Model, read_record, weights_path

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", summary="List models", responses=documented(*COMMON))
async def list_models(services: ServicesDep, _caller: CallerDep) -> ModelList:
    """The networks, their licences, and which of them can be used here."""
    return await in_thread(_models, services)


def _models(services: Services) -> ModelList:
    loaded = {str(worker.model["name"]) for worker in services.engine.workers() if worker.model}
    return ModelList(models=[_view(model, services, model.name in loaded) for model in MODELS.values()])


def _view(model: Model, services: Services, loaded: bool) -> ModelView:
    path = weights_path(model.name, services.settings.weights_dir)
    record = read_record(path) if path is not None and path.is_file() else None
    default = model.name == services.settings.model
    return ModelView(
        name=model.name,
        summary=model.summary,
        license=model.license,
        terms=model.terms,
        size=None if record is None else record.bytes,
        available=record is not None or default,
        loaded=loaded,
        default=default,
    )
