use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn names_tell_ports_and_owners() {
    let port = ClusterName::Port(3100);
    assert_eq!(cluster_of(OsStr::new(&socket_name(&port)), None), Some("3100"));
    assert_eq!(cluster_of(OsStr::new("balancer-1000-3100.sock"), Some(1000)), Some("3100"));
    let unix = ClusterName::Unix("unix:/run/app.sock".to_owned());
    assert_eq!(socket_name(&unix), "balancer-unix-ac330fe1afc6bf4d.sock");
    assert_eq!(cluster_of(OsStr::new(&socket_name(&unix)), None), Some(&*unix.in_file_name()));
    for (name, owner) in [
        ("balancer-1000-3100.sock", None),
        ("balancer-1000-3100.sock", Some(100)),
        ("balancer-.sock", None),
        ("balancer-70000.sock", None),
        ("balancer-unix-1.sock", None),
        ("other-3100.sock", None),
        ("balancer-3100.socket", None),
    ] {
        assert_eq!(cluster_of(OsStr::new(name), owner), None, "{name}");
    }
    assert_eq!(owner_of(OsStr::new("balancer-1000")), Some(1000));
    assert_eq!(owner_of(OsStr::new("balancer-1000-00ff")), Some(1000));
    for name in ["balancer-", "balancer-x", "balancer-1000.d", "1000"] {
        assert_eq!(owner_of(OsStr::new(name)), None, "{name}");
    }
}

#[test]
fn the_own_directory_is_private_and_used_again() {
    let temporary = tempfile::tempdir().unwrap();
    let user = user();
    let made = own_directory(temporary.path(), user).unwrap();
    assert_eq!(made, temporary.path().join(format!("balancer-{user}")));
    assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
    assert_eq!(own_directory(temporary.path(), user).unwrap(), made);
}

/// Each way in which somebody else may have been there first.
#[test]
fn a_directory_that_is_not_ones_own_is_not_used_and_does_not_keep_from_starting() {
    let squats: [fn(&Path, &Path); 4] = [
        |usual, _| std::fs::write(usual, "").unwrap(),
        |usual, other| symlink(other, usual).unwrap(),
        |usual, _| symlink("/nonexistent", usual).unwrap(),
        |usual, _| {
            std::fs::create_dir(usual).unwrap();
            mode(usual, 0o777);
        },
    ];
    for squat in squats {
        let (temporary, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let usual = temporary.path().join(format!("balancer-{}", user()));
        squat(&usual, other.path());
        let made = own_directory(temporary.path(), user()).unwrap();
        assert!(made != usual && owner_of(made.file_name().unwrap()) == Some(user()), "{}", made.display());
        assert_eq!(own_directory(temporary.path(), user()).unwrap(), made, "found again");
        assert_eq!(owned_directories(temporary.path(), None), [made]);
        assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    }
}

#[test]
fn why_a_directory_is_not_used_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let why = |user| check(path, std::fs::symlink_metadata(path), user).map_err(|err| err.to_string());
    assert_eq!(why(user()), Ok(()));
    assert!(why(user() + 1).unwrap_err().contains("belongs to user"));
    mode(path, 0o770);
    assert!(why(user()).unwrap_err().contains("others may write to"));
    mode(path, 0o1777);
    assert!(why(user()).unwrap_err().contains("(mode 1777)"));
    let missing = Directory::Existing(path.join("missing")).prepare().unwrap_err().to_string();
    assert!(missing.contains("missing: No such file"), "{missing}");
    let file = path.join("file");
    std::fs::write(&file, "").unwrap();
    let file = Directory::Existing(file).prepare().unwrap_err().to_string();
    assert!(file.ends_with("is not a directory"), "{file}");
}
