"""`/v1/models`: the base networks."""

from __future__ import annotations

from fastapi import APIRouter

from service.http.context import Services
from service.http.dependencies import COMMON, CallerDep, ServicesDep
from service.http.problem_responses import document_problems
from service.http.schemas import ModelList, ModelView
from service.runtime.threads import in_thread
from vos.weights.catalog import MODELS, Model, read_record, weights_path

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", summary="List models", responses=document_problems(*COMMON))
async def list_models(services: ServicesDep, _caller: CallerDep) -> ModelList:
    """The base networks with their licences, and whether this service can use them."""
    return await in_thread(_list, services)


def _list(services: Services) -> ModelList:
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
        available=(record is not None and model.is_installed) or default,
        loaded=loaded,
        default=default,
    )
