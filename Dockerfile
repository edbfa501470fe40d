# Build:  docker build -t nas .
# Run:    docker run --rm -v nas-runs:/home/nas/runs -v nas-cache:/var/cache/nas nas \
#             search --device jetson-nano --budget 20ms
# Out:    docker run --rm -v nas-runs:/home/nas/runs:ro --entrypoint tar nas -c -C /home/nas runs | tar -x
# Images: -v "$PWD/photos:/data:ro" before the image's name, then search ... --data /data
#
# For Linux, the default build of torch brings its CUDA libraries (several GB). An image without them
# needs the package index that has torch's CPU builds; pip reads it from this build argument:
#         docker build --build-arg PIP_EXTRA_INDEX_URL=... -t nas .
# The pinned version stays the same: pip prefers the CPU build of a release to its default build.

FROM python:3.11-slim AS builder

ARG PIP_EXTRA_INDEX_URL=""

WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY nas nas
COPY latency_tables latency_tables
COPY search_spaces search_spaces
COPY configs configs

# The two steps of `make`; here the package is copied in (no `-e`), as only the environment moves on.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --disable-pip-version-check -q --no-cache-dir \
        -c constraints.txt ".[postgresql]"


FROM python:3.11-slim

RUN useradd --create-home --uid 1000 nas \
    && install -d -o nas -g nas /home/nas/runs /var/cache/nas /var/lib/nas

COPY --from=builder /opt/venv /opt/venv

# Supernets and decoded images go to the cache; own latency tables and search spaces to the data folder.
ENV PATH="/opt/venv/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    NAS_CACHE_DIR=/var/cache/nas \
    NAS_DATA_DIR=/var/lib/nas

VOLUME ["/home/nas/runs", "/var/cache/nas", "/var/lib/nas"]
WORKDIR /home/nas
USER 1000

ENTRYPOINT ["nas"]
CMD ["--help"]
