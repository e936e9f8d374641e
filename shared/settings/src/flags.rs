//! The command line's part of settings: a flag for each definition that has one.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::definition::{Definition, Programs};
use crate::definitions::GROUPS;

/// Which flags a program takes, and how they look in its help.
pub trait TakenFlags {
    /// Whether the program is configured by `cluster.toml` as well.
    const READS_FILE: bool = true;
    /// Whether it only looks for a cluster, which an unreadable `.env` does not keep it from.
    const ONLY_LOOKS: bool = false;

    /// The argument for `definition`, of the group with that `heading`, or none.
    fn arg(definition: &Definition, heading: &'static str) -> Option<Arg>;
}

/// The balancer takes every setting that has a flag.
#[derive(Debug)]
pub enum Balancer {}

impl TakenFlags for Balancer {
    fn arg(definition: &Definition, heading: &'static str) -> Option<Arg> {
        definition.arg().map(|arg| arg.help_heading(heading))
    }
}

/// The worker takes those that concern a single process.
#[derive(Debug)]
pub enum Worker {}

impl TakenFlags for Worker {
    /// It is the cluster's.
    const READS_FILE: bool = false;

    fn arg(definition: &Definition, _: &'static str) -> Option<Arg> {
        if definition.programs == Programs::Balancer { None } else { definition.arg() }
    }
}

impl Definition {
    /// Its argument, if it has a flag. The value stays text: [`crate::Settings`]
    /// parses it and names the flag when it is wrong.
    pub fn arg(&self) -> Option<Arg> {
        let flag = self.flag?;
        let mut arg = Arg::new(flag).long(flag).value_name(self.value_name).help(self.flag_help(self.help));
        if let Some(short) = self.short {
            arg = arg.short(short);
        }
        if let Some(former) = self.former {
            arg = arg.alias(former.flag);
        }
        if self.hyphen_values {
            arg = arg.allow_hyphen_values(true);
        }
        if self.switch {
            arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
        }
        if self.repeatable {
            arg = arg.action(ArgAction::Append);
        }
        Some(arg)
    }

    /// `help` with the variable and the default behind it.
    pub fn flag_help(&self, help: &str) -> String {
        let note = self.note.map(|note| format!("; {note}")).unwrap_or_default();
        let variables: Vec<_> = self.prefixed.into_iter().chain([self.variable]).collect();
        let (variable, default) = (variables.join(", "), self.default.as_str());
        format!("{help} [env: {variable}{note}] [default: {default}]")
    }
}

/// The flags of program `P`, unparsed.
pub struct Flags<P> {
    values: HashMap<&'static str, String>,
    program: PhantomData<P>,
}

impl<P: TakenFlags> Flags<P> {
    pub(crate) fn into_values(self) -> HashMap<&'static str, String> {
        self.values
    }

    /// Each flag with its argument.
    fn taken() -> impl Iterator<Item = (&'static str, Arg)> {
        GROUPS.iter().flat_map(|group| {
            group
                .settings
                .iter()
                .filter_map(|definition| Some((definition.flag?, P::arg(definition, group.heading)?)))
        })
    }
}

impl<P: TakenFlags> Args for Flags<P> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::taken().map(|(_, arg)| arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<P: TakenFlags> FromArgMatches for Flags<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let values = Self::taken()
            .filter_map(|(flag, _)| {
                let given = matches.get_many::<String>(flag)?.map(String::as_str);
                Some((flag, given.collect::<Vec<_>>().join(",")))
            })
            .collect();
        Ok(Self { values, program: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.values.extend(Self::from_arg_matches(matches)?.values);
        Ok(())
    }
}

// Written out, as `P` need not be anything but a name.
impl<P> Default for Flags<P> {
    fn default() -> Self {
        Self { values: HashMap::new(), program: PhantomData }
    }
}

impl<P> Clone for Flags<P> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), program: PhantomData }
    }
}

/// A flag's value may be a password, so only the names are shown.
impl<P> fmt::Debug for Flags<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<P: TakenFlags>(line: &str) -> Result<HashMap<&'static str, String>, Error> {
        let command = Flags::<P>::augment_args(Command::new("test"));
        Ok(Flags::<P>::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)?.into_values())
    }

    #[test]
    fn the_commands_are_sound() {
        Flags::<Balancer>::augment_args(Command::new("balancer")).debug_assert();
        Flags::<Worker>::augment_args(Command::new("worker")).debug_assert();
    }

    #[test]
    fn each_program_takes_its_flags() {
        let balancer = values::<Balancer>("test -w -2 --strategy sticky --trust-forwarded").unwrap();
        assert_eq!((&*balancer["workers"], &*balancer["strategy"]), ("-2", "sticky"));
        assert_eq!((&*balancer["trust-forwarded"], balancer.len()), ("true", 3));
        let worker = values::<Worker>("test --port -1 --state-dir /tmp").unwrap();
        assert_eq!((&*worker["port"], &*worker["state-dir"]), ("-1", "/tmp"));
        assert!(values::<Worker>("test --workers 4").is_err());
        assert!(values::<Balancer>("test --state-dir --workers 4").is_err());
    }

    #[test]
    fn an_older_name_is_taken_as_well() {
        for flag in ["start-parallel", "reload-parallel"] {
            assert_eq!(values::<Balancer>(&format!("test --{flag} 2")).unwrap()["start-parallel"], "2");
        }
    }

    #[test]
    fn a_repeatable_flag_has_all_of_its_values() {
        let given = values::<Balancer>("test --env-file a.env --env-file=b.env").unwrap();
        assert_eq!(given["env-file"], "a.env,b.env");
        assert!(values::<Balancer>("test --chdir a --chdir b").is_err());
    }

    #[test]
    fn debug_output_shows_no_value() {
        let mut flags = Flags::<Worker>::default();
        flags.values.insert("redis-url", "hunter2".to_owned());
        assert_eq!(format!("{flags:?}"), "{\"redis-url\"}");
    }
}
