//! Users and groups of this machine by name, as its own lists and name services have them.

use nix::unistd::{Group, User};

/// The number of the user with this name or number; `None` when there is no such user.
pub fn user(name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| Some(User::from_name(name).ok()??.uid.as_raw()))
}

/// The number of the group with this name or number; `None` when there is no such group.
pub fn group(name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| Some(Group::from_name(name).ok()??.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_numbers_stay_what_they_are() {
        assert_eq!((user("root"), group("root")), (Some(0), Some(0)));
        assert_eq!((user("4711"), group("4711")), (Some(4711), Some(4711)));
        assert_eq!((user("no such user"), group("no such group")), (None, None));
    }
}
