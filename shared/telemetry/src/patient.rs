//! A stream that waits for its reader even if another program has made it non-blocking,
//! as is done to a terminal or pipe that several programs share (`O_NONBLOCK` belongs to
//! the open file, fcntl(2)).

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

#[derive(Debug)]
pub(crate) struct Patient<T>(pub(crate) T);

impl<T: Write + AsFd> Patient<T> {
    fn retry<R>(&mut self, attempt: impl Fn(&mut T) -> io::Result<R>) -> io::Result<R> {
        loop {
            match attempt(&mut self.0) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    let mut ready = [PollFd::new(&self.0, PollFlags::OUT)];
                    match poll(&mut ready, None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(err) => return Err(err.into()),
                    }
                }
                done => return done,
            }
        }
    }
}

impl<T: Write + AsFd> Write for Patient<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(|out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.retry(Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_that_does_not_block_loses_nothing() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let text = vec![b'x'; 1_000_000];
        let written = text.clone();
        let thread = std::thread::spawn(move || Patient(writer).write_all(&written).unwrap());
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        thread.join().unwrap();
        assert!(read == text);
    }
}
