# The server as an image: docker build --tag mien . && docker run --read-only --publish 127.0.0.1:8000:8000 mien
FROM python:3.11-slim AS build
WORKDIR /source
COPY docker docker
COPY pyproject.toml README.md LICENSE ./
COPY mien mien
RUN sh docker/install.sh /opt/mien

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mien
COPY --from=build /opt/mien /opt/mien
COPY docker/healthcheck.sh /opt/mien/healthcheck.sh
ENV PATH=/opt/mien/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["sh", "/opt/mien/healthcheck.sh"]
ENTRYPOINT ["mien", "serve", "--host", "0.0.0.0"]
