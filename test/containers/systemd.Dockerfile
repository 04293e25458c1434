# A plain machine on which systemd runs as it does on a real one. Its own mounts are shared, as on a machine that has
# booted (else the services' credentials stay in systemd's), and its part of the control groups may be written.
FROM everycore-test/bare
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends systemd && rm -rf /var/lib/apt/lists/*
WORKDIR /root
ENV container=docker
STOPSIGNAL SIGRTMIN+3
CMD ["sh", "-c", "mount --make-rshared / && mount -o remount,rw /sys/fs/cgroup && exec /lib/systemd/systemd"]
