//! What a definition consists of, and how one is written.
//!
//! A definition begins with its kind ([`Draft::duration`], [`Draft::count`], …)
//! and ends with [`Draft::default`], which makes a [`Setting`], or with
//! [`Draft::unset`], which makes an [`Optional`] one.

use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use crate::parse;

/// What users know of a setting.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Long flag without dashes; `None` when there is only the variable.
    pub flag: Option<&'static str>,
    pub short: Option<char>,
    pub variable: &'static str,
    /// What stands for the value in help, such as `DURATION`.
    pub value_name: &'static str,
    /// Ends the sentence "expected …".
    pub expects: &'static str,
    /// A right value, for error messages.
    pub example: &'static str,
    pub default: DefaultText,
    /// A clause or two, without a full stop.
    pub help: &'static str,
    /// What else concerns the variable, for help.
    pub note: Option<&'static str>,
    pub programs: Programs,
    /// No message repeats the value.
    pub secret: bool,
    /// Further right values, each with a comment.
    pub more_examples: &'static [(&'static str, &'static str)],
    /// A value may begin with a dash, so that a wrong one such as -1 is named as wrong.
    pub(crate) hyphen_values: bool,
    /// The flag alone means true.
    pub switch: bool,
    /// The flag may be given several times; its values are put together with commas.
    pub repeatable: bool,
    /// An older name, which is taken as well.
    pub former: Option<Former>,
    /// The name with the cluster's prefix, of a setting whose `variable` has none. It wins,
    /// and it is the only one where the other may be meant for somebody else's program.
    pub prefixed: Option<&'static str>,
    /// What a value of the variable without the prefix has to be besides, as other
    /// programs set that one as well.
    pub(crate) bare_fits: Option<fn(&str) -> bool>,
    /// Several values with commas between them, which may be a list in `cluster.toml`.
    pub list: bool,
    /// Says what is wrong with a value that does not parse, where that is worth saying.
    pub(crate) why_wrong: Option<fn(&str) -> Option<String>>,
}

/// The flag, without dashes, and the variable that a setting had before.
#[derive(Debug, Clone, Copy)]
pub struct Former {
    pub flag: &'static str,
    pub variable: &'static str,
}

/// What holds when nobody has set a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultText {
    /// This value.
    Value(&'static str),
    /// What is described here.
    Described(&'static str),
}

impl DefaultText {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value(text) | Self::Described(text) => text,
        }
    }
}

/// Which programs take a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    Balancer,
    /// The worker on its own, and the balancer's bundled ones by their environment.
    Worker,
    Both,
}

impl Definition {
    /// The names under which it can be set, such as `--port or PORT`.
    pub fn names(&self) -> String {
        match self.flag {
            Some(flag) => format!("--{flag} or {}", self.variable),
            None => self.variable.to_owned(),
        }
    }

    /// All its variables, the strongest first.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        let former = self.former.map(|former| former.variable);
        [self.prefixed, Some(self.variable), former].into_iter().flatten()
    }

    /// The strongest of its variables.
    pub fn own_variable(&self) -> &'static str {
        self.prefixed.unwrap_or(self.variable)
    }

    /// Its name in `cluster.toml`: that of the flag, or else that of the variable in the
    /// same spelling. `None` for what the file itself or another program is told by.
    pub fn key(&self) -> Option<String> {
        if self.flag == Some(CONFIG_FLAG) {
            return None;
        }
        let of_variable =
            || Some(self.own_variable().strip_prefix(PREFIX)?.to_ascii_lowercase().replace('_', "-"));
        self.flag.map(str::to_owned).or_else(of_variable)
    }
}

/// Begins the variables that are nobody's but the cluster's.
pub(crate) const PREFIX: &str = "CLUSTER_";
/// The flag that names `cluster.toml`, which cannot stand in it.
pub(crate) const CONFIG_FLAG: &str = "config";

/// Whether `variable` is the cluster's also where somebody else's program is run, whose
/// environment it shares.
pub(crate) fn is_the_clusters(variable: &str) -> bool {
    variable.starts_with(PREFIX) || matches!(variable, "HOST" | "PORT")
}

/// A setting that always has a value.
#[derive(Debug)]
pub struct Setting<T> {
    pub definition: Definition,
    pub(crate) default: &'static str,
    pub(crate) parse: fn(&str) -> Option<T>,
}

impl<T> Setting<T> {
    /// The default as users would write it.
    pub const fn default_text(&self) -> &'static str {
        self.default
    }
}

/// A setting that need not have a value.
#[derive(Debug)]
pub struct Optional<T> {
    pub definition: Definition,
    pub(crate) parse: fn(&str) -> Option<T>,
}

impl<T> Deref for Setting<T> {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        &self.definition
    }
}

impl<T> Deref for Optional<T> {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        &self.definition
    }
}

/// Settings that stand together in help and documents.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    pub heading: &'static str,
    pub settings: &'static [&'static Definition],
}

/// Defines settings, each as a constant, and the group that lists them all.
macro_rules! group {
    ($heading:literal; $($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)+) => {
        $($(#[$doc])* pub const $name: $type = $value;)+

        pub(crate) const GROUP: $crate::Group =
            $crate::Group { heading: $heading, settings: &[$(&$name.definition),+] };
    };
}
pub(crate) use group;

/// A definition that is being written.
pub(crate) struct Draft<T> {
    definition: Definition,
    parse: fn(&str) -> Option<T>,
}

impl<T> Draft<T> {
    /// A setting of a kind that no other has. It has no flag until [`Self::flag`] gives it one.
    pub(crate) const fn new(
        variable: &'static str,
        value_name: &'static str,
        expects: &'static str,
        parse: fn(&str) -> Option<T>,
    ) -> Self {
        let definition = Definition {
            flag: None,
            short: None,
            variable,
            value_name,
            expects,
            example: "",
            default: DefaultText::Described("none"),
            help: "",
            note: None,
            programs: Programs::Balancer,
            secret: false,
            more_examples: &[],
            hyphen_values: false,
            switch: false,
            repeatable: false,
            former: None,
            prefixed: None,
            bare_fits: None,
            list: false,
            why_wrong: None,
        };
        Self { definition, parse }
    }

    pub(crate) const fn flag(mut self, flag: &'static str) -> Self {
        self.definition.flag = Some(flag);
        self
    }

    pub(crate) const fn formerly(mut self, flag: &'static str, variable: &'static str) -> Self {
        self.definition.former = Some(Former { flag, variable });
        self
    }

    /// See [`Definition::prefixed`].
    pub(crate) const fn prefixed(mut self, variable: &'static str) -> Self {
        self.definition.prefixed = Some(variable);
        self
    }

    /// See [`Definition::bare_fits`].
    pub(crate) const fn bare_fits(mut self, fits: fn(&str) -> bool) -> Self {
        self.definition.bare_fits = Some(fits);
        self
    }

    /// See [`Definition::list`].
    pub(crate) const fn list(mut self) -> Self {
        self.definition.list = true;
        self
    }

    /// See [`Definition::why_wrong`].
    pub(crate) const fn why_wrong(mut self, why: fn(&str) -> Option<String>) -> Self {
        self.definition.why_wrong = Some(why);
        self
    }

    pub(crate) const fn short(mut self, short: char) -> Self {
        self.definition.short = Some(short);
        self
    }

    pub(crate) const fn help(mut self, help: &'static str) -> Self {
        self.definition.help = help;
        self
    }

    pub(crate) const fn example(mut self, example: &'static str) -> Self {
        self.definition.example = example;
        self
    }

    pub(crate) const fn more_examples(mut self, all: &'static [(&'static str, &'static str)]) -> Self {
        self.definition.more_examples = all;
        self
    }

    pub(crate) const fn note(mut self, note: &'static str) -> Self {
        self.definition.note = Some(note);
        self
    }

    pub(crate) const fn taken_by(mut self, programs: Programs) -> Self {
        self.definition.programs = programs;
        self
    }

    pub(crate) const fn secret(mut self) -> Self {
        self.definition.secret = true;
        self
    }

    pub(crate) const fn hyphen_values(mut self) -> Self {
        self.definition.hyphen_values = true;
        self
    }

    /// The flag alone means true; a value follows an equals sign.
    pub(crate) const fn switch(mut self) -> Self {
        self.definition.switch = true;
        self
    }

    pub(crate) const fn repeatable(mut self) -> Self {
        self.definition.repeatable = true;
        self
    }

    /// Ends the definition of a setting that always has a value.
    pub(crate) const fn default(mut self, text: &'static str) -> Setting<T> {
        self.definition.default = DefaultText::Value(text);
        Setting { definition: self.definition, default: text, parse: self.parse }
    }

    /// Ends the definition of an optional setting; `description` says what holds without it.
    pub(crate) const fn unset(mut self, description: &'static str) -> Optional<T> {
        self.definition.default = DefaultText::Described(description);
        Optional { definition: self.definition, parse: self.parse }
    }
}

impl Draft<Duration> {
    pub(crate) const fn duration(variable: &'static str) -> Self {
        let expects = "a duration above zero such as 500ms, 30s or 1m";
        Self::new(variable, "DURATION", expects, parse::duration).hyphen_values()
    }
}

impl Draft<u32> {
    /// A small number, such as one of workers or probes.
    pub(crate) const fn count(variable: &'static str) -> Self {
        let expects = "a whole number from 1 to 100";
        Self::new(variable, "N", expects, |text| parse::whole(text, 1..=100)).hyphen_values()
    }

    pub(crate) const fn positive_u32(variable: &'static str) -> Self {
        let expects = "a whole number above zero";
        Self::new(variable, "N", expects, |text| parse::whole(text, 1..=u32::MAX)).hyphen_values()
    }
}

impl Draft<u64> {
    pub(crate) const fn positive(variable: &'static str) -> Self {
        let expects = "a whole number above zero";
        Self::new(variable, "N", expects, |text| parse::whole(text, 1..=u64::MAX)).hyphen_values()
    }

    /// An amount of bytes that may be zero.
    pub(crate) const fn size_or_none(variable: &'static str) -> Self {
        let expects = "an amount such as 64KiB or 1MiB, or 0";
        Self::new(variable, "SIZE", expects, parse::bytes_or_none).hyphen_values()
    }

    /// An amount of bytes above zero.
    pub(crate) const fn size(variable: &'static str, expects: &'static str) -> Self {
        Self::new(variable, "SIZE", expects, parse::bytes).hyphen_values()
    }
}

impl Draft<bool> {
    pub(crate) const fn boolean(variable: &'static str) -> Self {
        Self::new(variable, "true|false", "true or false", parse::boolean)
    }
}

impl Draft<IpAddr> {
    pub(crate) const fn host(variable: &'static str) -> Self {
        Self::new(variable, "ADDR", "an IP address or a host name of this machine", parse::host)
    }
}

impl Draft<PathBuf> {
    pub(crate) const fn path(
        variable: &'static str,
        value_name: &'static str,
        expects: &'static str,
    ) -> Self {
        Self::new(variable, value_name, expects, parse::path)
    }
}

impl Draft<String> {
    /// A value whose type only its user knows; see [`crate::Settings::get_as`].
    pub(crate) const fn text(
        variable: &'static str,
        value_name: &'static str,
        expects: &'static str,
    ) -> Self {
        Self::new(variable, value_name, expects, |text| Some(text.to_owned()))
    }
}
