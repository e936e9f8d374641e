#!/bin/sh
# Writes what it was started with to the file $1, and becomes the rest of its arguments.
{
  grep -E '^(SigBlk|SigIgn|ShdPnd|NoNewPrivs|Seccomp|Cpus_allowed|CapEff|Uid|Gid)' /proc/self/status
  cat /proc/self/limits
  umask
  nice
  echo "$(cd /proc/self/fd && echo *)"
  env | grep -vE '^(HOST|PORT|WORKER_ID|WORKER_COUNT|WORKER_GENERATION|_|OLDPWD)=' | sort
} >"$1.new"
mv "$1.new" "$1"
shift
exec "$@"
