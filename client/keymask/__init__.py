"""Client of the keymask service: a compressed video and one mask in, a mask for every frame out."""

from keymask.async_client import AsyncClient
from keymask.client import Client
from keymask.errors import (
    ConflictError,
    ConnectionFailedError,
    InputRefusedError,
    JobCanceledError,
    JobFailedError,
    KeymaskError,
    NotFoundError,
    ProblemError,
    ServerError,
    TooManyRequestsError,
    UnauthorizedError,
    WaitTimeoutError,
)
from keymask.models import Forecast, Frame, Job, JobStatus, Model, ObjectMask, Options, Probe, Progress, Track, Video

__all__ = [
    "AsyncClient",
    "Client",
    "ConflictError",
    "ConnectionFailedError",
    "Forecast",
    "Frame",
    "InputRefusedError",
    "Job",
    "JobCanceledError",
    "JobFailedError",
    "JobStatus",
    "KeymaskError",
    "Model",
    "NotFoundError",
    "ObjectMask",
    "Options",
    "Probe",
    "ProblemError",
    "Progress",
    "ServerError",
    "TooManyRequestsError",
    "Track",
    "UnauthorizedError",
    "Video",
    "WaitTimeoutError",
]
