use crate::definition::{Draft, Optional, Setting, group};

group! {
    "Access log";

    ACCESS_LOG: Optional<String> =
        Draft::text("CLUSTER_ACCESS_LOG", "PATH|-", "a path, or - for standard output")
            .flag("access-log")
            .hyphen_values()
            .example("/var/log/cluster/access.log")
            .help(
                "Write a line for each request to this file, or to standard output with -; SIGUSR1, SIGHUP \
                 and reload open the file again, so that it can be rotated",
            )
            .unset("none");

    ACCESS_LOG_FORMAT: Setting<String> = Draft::text("CLUSTER_ACCESS_LOG_FORMAT", "FORMAT", "combined or json")
        .flag("access-log-format")
        .example("json")
        .help(
            "Form of the access log's lines: combined, which is that of Apache and nginx with further \
             fields behind it, or json",
        )
        .default("combined");
}
