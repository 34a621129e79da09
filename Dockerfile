# The broker in an image that holds nothing else: no shell, no libraries, no root.
#
#   docker build -t claudemesh .
#   docker run -d -p 7900:7900 -v claudemesh:/data claudemesh
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /claudemesh . && mkdir -m 0700 /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /claudemesh /claudemesh
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
VOLUME /data
EXPOSE 7900
ENV CLAUDEMESH_BROKER_LISTEN=:7900 CLAUDEMESH_BROKER_DATA=/data
STOPSIGNAL SIGTERM
ENTRYPOINT ["/claudemesh"]
CMD ["broker"]
