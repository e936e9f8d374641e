use std::path::PathBuf;
use std::time::Duration;

use crate::definition::{Draft, Optional, Programs, Setting, group};
use crate::parse::{self, DrainSignal, ReloadMode};

group! {
    "Workers";

    ENV_FILE: Optional<Vec<PathBuf>> =
        Draft::new("CLUSTER_ENV_FILE", "FILE", "a file with lines like NAME=value, or several with commas between them", parse::paths)
            .flag("env-file")
            .repeatable()
        .list()
            .example("app.env")
            .help("Read variables for the workers from this file, at the start and at each reload; may be repeated, later files win")
            .unset("none");

    CHDIR: Optional<PathBuf> = Draft::path("CLUSTER_CHDIR", "DIR", "a directory")
        .flag("chdir")
        .example("/srv/app/current")
        .help("Working directory of the workers, also for a relative COMMAND; a symbolic link is followed at the start and at each reload")
        .unset("where the balancer was started");

    DRAIN_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_DRAIN_TIMEOUT")
        .flag("drain-timeout")
        .example("30s")
        .help("How long requests in flight may take when their worker is replaced, and on shutdown")
        .taken_by(Programs::Both)
        .default("30s");

    STREAM_DRAIN_TIMEOUT: Optional<Duration> = Draft::duration("CLUSTER_STREAM_DRAIN_TIMEOUT")
        .flag("stream-drain-timeout")
        .example("10s")
        .help("Time over which upgraded connections and event streams are closed, one after the other, once they are all that a worker has left")
        .unset("what is left of the drain timeout");

    DRAIN_SIGNAL: Setting<DrainSignal> = Draft::new(
        "CLUSTER_DRAIN_SIGNAL",
        "SIGNAL",
        "the name of a signal such as TERM or USR2, or off",
        DrainSignal::parse,
    )
        .flag("drain-signal")
        .example("USR2")
        .help("What tells a program that only upgraded connections and event streams are left; TERM is what ends it, too, so that a program which does not handle it gets it when they are gone")
        .default("TERM");

    STOP_TIMEOUT: Optional<Duration> = Draft::duration("CLUSTER_STOP_TIMEOUT")
        .flag("stop-timeout")
        .example("10s")
        .help("How long requests in flight may take on shutdown")
        .unset("the drain timeout");

    SHUTDOWN_DELAY: Setting<Duration> = Draft::new(
        "CLUSTER_SHUTDOWN_DELAY",
        "DURATION",
        "a duration such as 500ms, 10s or 1m, or 0s for none",
        parse::duration_or_none,
    )
        .flag("shutdown-delay")
        .hyphen_values()
        .example("10s")
        .help(
            "How long the cluster goes on serving after it was told to stop, while /health says 503, so that \
             balancers in front of it send no more; --stop-timeout begins after it. With a COMMAND, \
             --health-path says 503 to clients too, unless it is / or tcp; the admin listener's /health does in \
             any case",
        )
        .default("0s");

    STARTUP_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_STARTUP_TIMEOUT")
        .flag("startup-timeout")
        .example("30s")
        .help("How long a worker may take until it is ready, from the moment that it is started")
        .default("30s");

    GIVE_UP_AFTER: Setting<Option<u32>> = Draft::new(
        "CLUSTER_GIVE_UP_AFTER",
        "N|never",
        "a whole number from 1 to 1000, or never",
        parse::tries,
    )
    .flag("give-up-after")
    .hyphen_values()
    .example("5")
    .help("End with exit code 1 when no worker has ever been ready and the start of each has failed so often")
    .default("5");

    KILL_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_KILL_TIMEOUT")
        .flag("kill-timeout")
        .example("5s")
        .help("Time from SIGTERM to SIGKILL for a worker")
        .default("5s");

    START_PARALLEL: Optional<u32> = Draft::count("CLUSTER_START_PARALLEL")
        .flag("start-parallel")
        .formerly("reload-parallel", "CLUSTER_RELOAD_PARALLEL")
        .example("2")
        .help("Most workers that are starting at the same time, for whatever reason")
        .unset("as many as keep the processors busy");

    RELOAD_MODE: Setting<ReloadMode> = Draft::new(
        "CLUSTER_RELOAD_MODE",
        "all|one-by-one",
        "all or one-by-one",
        ReloadMode::parse,
    )
        .flag("reload-mode")
        .example("one-by-one")
        .help("How workers are replaced by a reload or because of a limit: all new ones start beside the old ones and take over together; or each worker ends before its successor starts, for programs with a port, a lock or a file per WORKER_ID, and for machines without memory for twice the workers")
        .default("all");

    MAX_MEMORY: Optional<u64> = Draft::size("CLUSTER_MAX_MEMORY", "an amount of memory such as 256MiB or 1GB")
        .flag("max-memory")
        .example("512MiB")
        .help("Replace a worker that keeps more memory than this for five seconds, with all that it has started; what processes share counts once")
        .unset("no limit");

    MAX_REQUESTS: Optional<u64> = Draft::positive("CLUSTER_MAX_REQUESTS")
        .flag("max-requests")
        .example("10000")
        .help("Replace a worker after so many requests, or up to a fifth fewer, at random")
        .unset("no limit");

    MAX_LIFETIME: Optional<Duration> = Draft::duration("CLUSTER_MAX_LIFETIME")
        .flag("max-lifetime")
        .example("12h")
        .help("Replace a worker at this age, or up to a fifth earlier, at random")
        .unset("no limit");
}
