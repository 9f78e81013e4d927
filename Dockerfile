# rali serve in a container, on the processor:
#
#     docker build -t rali .
#     docker run -p 8000:8000 -e RALI_TOKEN=secret rali
#
# Any other command takes the place of `serve`, as in:
#
#     docker run -v "$PWD:/work" rali score photos/ -o scores.csv
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
# hadolint ignore=DL3013 -- the wheel is this checkout's
RUN pip install --no-cache-dir "$(echo /wheels/rali-*.whl)[serve,heif,data,remote]" \
    && rm -r /wheels \
    && useradd --create-home --uid 1000 rali
USER 1000
WORKDIR /work
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["rali"]
CMD ["serve", "--host", "0.0.0.0"]
