//! Finds the cluster that is meant: by the path of its control socket, by its port in
//! all places where the socket may lie, or because it is the only one that runs.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use shared_settings::control::{ClusterName, sockets};
use shared_settings::definitions::CONTROL;
use shared_settings::{ConfigError, Listeners, Settings};

use crate::cluster::{Cluster, ConnectError};
use crate::list;
use crate::peer::User;
use crate::processes::{self, Primary};
use crate::running::{self, Running};

/// What every failure to find a cluster says.
const HINT: &str = "is it running? --port or --control says which one is meant";

/// Which cluster is meant.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The path of its socket, if somebody has chosen it.
    pub(crate) control: Option<PathBuf>,
    /// By what it is known.
    pub(crate) name: ClusterName,
    /// Somebody has said where its clients connect, or which path.
    pub(crate) is_named: bool,
}

impl Target {
    /// # Errors
    /// When a setting does not parse.
    pub(crate) fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let control = settings.find(&CONTROL)?;
        let is_named = control.is_some() || Listeners::are_chosen(settings);
        Ok(Self { control, name: Listeners::of(settings)?.name(None), is_named })
    }

    /// The paths that may lead to it.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match &self.control {
            Some(path) => vec![path.clone()],
            None => sockets(Some(&self.name)),
        }
    }

    /// The same cluster as `found`, whatever else runs later.
    pub(crate) fn pinned(&self, found: &Cluster) -> Self {
        let control =
            if self.paths().contains(&found.path) { &self.control } else { &Some(found.path.clone()) };
        Self { control: control.clone(), name: self.name.clone(), is_named: true }
    }

    /// The cluster itself, or the only one that runs where nobody has said which.
    ///
    /// # Errors
    /// When it cannot be found, or there are several; says what there is instead.
    pub(crate) async fn connect(&self) -> anyhow::Result<Cluster> {
        let why = match self.connect_to_named().await? {
            Ok(cluster) => return Ok(cluster),
            Err(why) if self.is_named => return Err(why),
            Err(why) => why,
        };
        let running = running::all().await;
        match &running[..] {
            [Running { control: Some(path), pid, .. }] => Ok(Cluster::connect_to(path, Some(*pid)).await?),
            [] | [_] => Err(why),
            several => Err(anyhow!(
                "no cluster listens on {}, and several run: --port says which one is meant\n{}",
                self.name,
                list::table(several).join("\n")
            )),
        }
    }

    /// The cluster that has this path or port. The inner error says why there is none.
    ///
    /// # Errors
    /// When several say that they are the one.
    pub(crate) async fn connect_to_named(&self) -> anyhow::Result<Result<Cluster, anyhow::Error>> {
        let mut failures = Vec::new();
        let mut found: Vec<Cluster> = Vec::new();
        for path in self.paths() {
            match Cluster::connect(&path).await {
                Ok(cluster) if cluster.peer.is_own() => return Ok(Ok(cluster)),
                // Everybody can have a socket of this name in a directory of their own.
                Ok(cluster)
                    if self.control.is_none()
                        && self
                            .name
                            .port()
                            .is_none_or(|port| processes::serves(cluster.peer.pid, port) == Some(false)) =>
                {
                    failures.push(cluster.into_stranger());
                }
                Ok(cluster) if found.iter().all(|other| other.peer != cluster.peer) => found.push(cluster),
                Ok(_) => {}
                Err(err) => failures.push(err),
            }
        }
        if let [first, _, ..] = &found[..] {
            let each = found.iter().map(|one| format!("{} of {}", one.path.display(), User(one.peer.user)));
            let each: Vec<_> = each.collect();
            bail!(
                "several programs are on {}: --control says which one is meant, {}, such as {}",
                self.name,
                each.join(" or "),
                first.path.display()
            );
        }
        if let Some(cluster) = found.pop() {
            return Ok(Ok(cluster));
        }
        let primaries = processes::primaries();
        if self.control.is_none() {
            for found in primaries.iter().filter(|found| found.is_at(&self.name)) {
                for path in &found.sockets {
                    match Cluster::confirmed(path, found.pid).await {
                        Ok(cluster) => return Ok(Ok(cluster)),
                        Err(err) => failures.push(err),
                    }
                }
            }
        }
        Ok(Err(self.failure(&failures, &primaries)))
    }

    /// Why nothing was found, and what was found instead.
    fn failure(&self, failures: &[ConnectError], primaries: &[Primary]) -> anyhow::Error {
        let mut text = match &self.control {
            Some(path) => failures.iter().find(|err| !err.is_absence()).map_or_else(
                || format!("no cluster listens on {} ({HINT})", path.display()),
                ToString::to_string,
            ),
            None => format!("no cluster listens on {} ({HINT})", self.name),
        };
        if self.control.is_none() {
            for err in failures.iter().filter(|err| !err.is_absence()) {
                text.push_str(&format!("; {err}"));
            }
        }
        for found in primaries {
            let has = |path: &PathBuf| found.sockets.contains(path);
            let is_meant = match &self.control {
                Some(path) => std::path::absolute(path).as_ref().is_ok_and(has),
                None => found.is_at(&self.name),
            };
            if is_meant {
                text.push_str(&format!("; {}", found.advice(self.name.port())));
            }
        }
        anyhow!(text)
    }
}
