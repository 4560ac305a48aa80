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
    LocalError,
    NotFoundError,
    ProblemError,
    ServerError,
    ServerNotInstalledError,
    TooManyRequestsError,
    UnauthorizedError,
    WaitTimeoutError,
)
from keymask.models import Forecast, Frame, Job, JobStatus, Model, ObjectMask, Probe, Progress, Track, Video
from keymask.options import Options

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
    "LocalError",
    "Model",
    "NotFoundError",
    "ObjectMask",
    "Options",
    "Probe",
    "ProblemError",
    "Progress",
    "ServerError",
    "ServerNotInstalledError",
    "TooManyRequestsError",
    "Track",
    "UnauthorizedError",
    "Video",
    "WaitTimeoutError",
]
