//! `getsockopt(TCP_INFO)`, which no library at hand has.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What the kernel knows of a TCP connection.
///
/// # Errors
/// When the socket is no TCP socket.
#[allow(unsafe_code)]
pub fn tcp_info(socket: &impl AsFd) -> io::Result<libc::tcp_info> {
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: every field is an integer, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as it is borrowed, and `size` is the size of `info`; an older
    // kernel writes less and leaves the rest zero.
    let result =
        unsafe { libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut size) };
    if result == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_known_to_be_up() {
        const ESTABLISHED: u8 = 1;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(tcp_info(&stream).unwrap().tcpi_state, ESTABLISHED);
        assert!(tcp_info(&std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
