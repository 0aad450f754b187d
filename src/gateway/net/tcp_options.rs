//! TCP socket options that tokio and socket2 do not offer.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// `TCP_RTO_MAX_MS` of linux/tcp.h.
const TCP_RTO_MAX_MS: libc::c_int = 44;
/// `TCP_CLOSE` of net/tcp_states.h: the connection has ended, for example by a reset.
pub const TCP_CLOSE: u8 = 7;

/// Returns the kernel's `TCP_INFO` of a connection.
///
/// # Errors
/// Fails when the socket is not a TCP socket.
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

/// Sets the kernel's longest interval between retransmissions, and between zero-window probes.
///
/// # Errors
/// Fails when the kernel is older than Linux 6.15, or the socket is not a TCP socket.
#[allow(unsafe_code)]
pub fn set_max_retransmission_interval(socket: &impl AsFd, interval: Duration) -> io::Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    let milliseconds = libc::c_int::try_from(interval.as_millis()).map_err(io::Error::other)?;
    let size = libc::socklen_t::try_from(size_of_val(&milliseconds)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as it is borrowed, and `size` is the size of `milliseconds`.
    let result =
        unsafe { libc::setsockopt(socket, libc::IPPROTO_TCP, TCP_RTO_MAX_MS, (&raw const milliseconds).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_info_reports_an_established_connection() {
        const ESTABLISHED: u8 = 1;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(tcp_info(&stream).unwrap().tcpi_state, ESTABLISHED);
        assert!(tcp_info(&std::fs::File::open("/dev/null").unwrap()).is_err());
        assert!(
            set_max_retransmission_interval(&std::fs::File::open("/dev/null").unwrap(), Duration::from_secs(5))
                .is_err()
        );
    }
}
