use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::*;

fn bind(path: &Path) -> Result<ControlSocket, String> {
    ControlSocket::bind(&Places::chosen(path.to_owned())).map_err(|err| err.to_string())
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[test]
fn the_socket_is_private_and_goes_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let socket = bind(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = bind(&path).unwrap_err();
    let own = format!("another cluster listens on it: process {} (set --control", std::process::id());
    assert!(second.contains(&own), "{second}");
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn who_takes_no_connections_still_has_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let socket = bind(&path).unwrap();
    rustix::net::listen(&socket.listener, 0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let second = bind(&path).unwrap_err();
    assert!(second.contains("another cluster listens on it"), "{second}");
}

#[test]
fn what_a_killed_cluster_left_is_replaced_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    drop(StdUnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(bind(&path).unwrap());
    let makes: [fn(&Path); 3] = [
        |path| std::fs::write(path, "precious").unwrap(),
        |path| std::fs::create_dir(path).unwrap(),
        |path| std::os::unix::fs::symlink("/nonexistent", path).unwrap(),
    ];
    for (index, make) in makes.into_iter().enumerate() {
        let path = directory.path().join(index.to_string());
        make(&path);
        let before = identity(&std::fs::symlink_metadata(&path).unwrap());
        let err = bind(&path).unwrap_err();
        assert!(err.contains("which is not a socket"), "{err}");
        assert_eq!(identity(&std::fs::symlink_metadata(&path).unwrap()), before, "it is left alone");
    }
    let missing = bind(&directory.path().join("no/control.sock")).unwrap_err();
    assert!(missing.contains("there is no such directory"), "{missing}");
}

#[test]
fn the_file_of_another_cluster_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let first = bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = bind(&path).unwrap();
    assert!(!first.is_there() && second.is_there());
    drop(first);
    assert!(UnixStream::connect(&path).is_ok(), "it is still there");
}

#[test]
fn the_first_place_that_will_do_has_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let place = |path: PathBuf| Places::chosen(path).0.remove(0);
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let good = directory.path().join("good.sock");
    let bad = || {
        vec![
            Arc::new(|| Err("others may write to it".to_owned())) as Place,
            place(file.clone()),
            place(directory.path().join("x".repeat(108))),
            place("/nonexistent/control.sock".into()),
        ]
    };
    let err = ControlSocket::bind(&Places::usual(bad())).unwrap_err().to_string();
    for why in ["others may write to it; ", "another file", "name too long", "no such directory (set"] {
        assert!(err.contains(why), "{err}");
    }
    let places = || Places::usual(bad().into_iter().chain([place(good.clone())]));
    let socket = ControlSocket::bind(&places()).unwrap();
    assert_eq!(socket.path, good);
    let err = ControlSocket::bind(&places()).unwrap_err().to_string();
    assert!(err.contains("good.sock: another cluster") && !err.contains("others may"), "{err}");
}

#[test]
fn a_directory_for_sockets_goes_with_the_last_one() {
    let temporary = tempfile::tempdir().unwrap();
    let own = temporary.path().join("own");
    let place = |name: &'static str| {
        let own = own.clone();
        let place: Place = Arc::new(move || {
            let _ = std::fs::create_dir(&own);
            Ok(Prepared { path: own.join(name), owns_directory: true })
        });
        Places::usual([place])
    };
    let first = ControlSocket::bind(&place("1.sock")).unwrap();
    let second = ControlSocket::bind(&place("2.sock")).unwrap();
    drop(first);
    assert!(second.is_there());
    drop(second);
    assert!(!own.exists());
}

#[test]
fn whoever_else_can_replace_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let socket = bind(&directory.path().join("control.sock")).unwrap();
    assert_eq!(socket.exposure(), None);
    let mode = |mode| {
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o777);
    assert!(socket.exposure().unwrap().contains("everybody can replace it"));
    mode(0o1777);
    assert_eq!(socket.exposure(), None);
    mode(0o700);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let places = Places::chosen(path.clone());
    let mut socket = ControlSocket::bind(&places).unwrap();
    let in_use = socket.in_use().unwrap();
    assert!(in_use.try_clone().unwrap().is_some());
    let unchanged = tokio::time::timeout(LOOK * 3, socket.renewed(&places)).await;
    assert!(unchanged.is_err(), "nothing is made anew while it is there");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "in the way").unwrap();
    assert!(in_use.try_clone().unwrap().is_none(), "nobody finds it any more");
    let blocked = tokio::time::timeout(LOOK * 3, socket.renewed(&places)).await;
    assert!(blocked.is_err(), "not while something lies there");
    std::fs::remove_file(&path).unwrap();
    let renewed = socket.renewed(&places).await;
    drop(socket);
    assert!(renewed.is_there() && UnixStream::connect(&path).is_ok());
    let handed_on = StdUnixListener::from(in_use.try_clone().unwrap().unwrap());
    let address = handed_on.local_addr().unwrap();
    assert_eq!(address.as_pathname(), Some(path.as_path()));
    handed_on.set_nonblocking(false).unwrap();
    handed_on.accept().expect("the one that is there now");
}
