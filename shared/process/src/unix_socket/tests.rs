use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("unix-socket-{name}-{}", std::process::id()));
    std::fs::create_dir(&path).unwrap();
    path
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_file_has_its_mode_and_goes_with_the_socket_if_it_is_still_the_same() {
    let directory = directory("file");
    let path = directory.join("a.sock");
    for access in [Access::PRIVATE, Access { mode: 0o666, ..Access::PRIVATE }] {
        let (listener, file) = bind(&path, access, 16).unwrap();
        assert_eq!(mode(&path), access.mode);
        UnixStream::connect(&path).unwrap();
        assert!(matches!(bind(&path, access, 16), Err(BindError::InUse(Some(_)))));
        assert!(matches!(look(&path), Err(BindError::InUse(Some(_)))));
        drop(listener);
        assert!(path.exists() && look(&path).is_ok());
        drop(file);
        assert!(!path.exists());
    }
    let (listener, first) = bind(&path, Access::PRIVATE, 16).unwrap();
    drop(listener);
    let (_listener, second) = bind(&path, Access::PRIVATE, 16).expect("nobody listens any more");
    drop(first);
    assert!(second.is_there(), "it is another one's now");
    drop(second);
    std::fs::remove_dir(directory).expect("nothing is left");
}

#[test]
fn what_is_no_socket_stays_as_it_is() {
    let directory = directory("other");
    let (file, link, lost) = (directory.join("file"), directory.join("link"), directory.join("no/a.sock"));
    std::fs::write(&file, "mine").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link, &directory] {
        assert!(matches!(bind(path, Access::PRIVATE, 16), Err(BindError::NoSocket(_))), "{path:?}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert!(matches!(bind(&lost, Access::PRIVATE, 16), Err(BindError::NoDirectory)));
    let datagrams = directory.join("datagrams");
    let socket = std::os::unix::net::UnixDatagram::bind(&datagrams).unwrap();
    assert!(matches!(bind(&datagrams, Access::PRIVATE, 16), Err(BindError::InUse(None))));
    drop(socket);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_file_that_cannot_be_given_away_is_not_left_behind() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let directory = directory("owner");
    let access = Access { user: Some(0), ..Access::PRIVATE };
    let refused = bind(&directory.join("a.sock"), access, 16);
    assert!(matches!(refused, Err(BindError::Owner { .. })));
    std::fs::remove_dir(directory).expect("nothing is left");
}

#[test]
fn an_abstract_name_is_one_listeners_at_a_time() {
    let name = format!("balancer-test-{}", std::process::id());
    let listener = bind_abstract(&name, 16).unwrap();
    assert!(matches!(bind_abstract(&name, 16), Err(BindError::InUse(Some(_)))));
    drop(listener);
    bind_abstract(&name, 16).unwrap();
}
