//! How many connections each HTTP port holds.

use crate::metrics::HttpPort;

/// The limits of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most connections in total. Connections that have become WebSockets do not count.
    pub all: usize,
    /// The most connections with an incomplete request header, be it their first or a later one.
    pub unfinished: usize,
}

impl Limits {
    /// Returns the limits of a port. A connection costs about 20 KB; with TLS 50 KB, and up to 130 KB during its
    /// handshake.
    pub const fn of(port: HttpPort) -> Self {
        match port {
            HttpPort::Console => Self { all: 1024, unfinished: 256 },
            HttpPort::Probes | HttpPort::Terminal => Self { all: 512, unfinished: 256 },
            HttpPort::Observers | HttpPort::History => Self { all: 256, unfinished: 64 },
        }
    }

    /// Returns the limits, reduced so that a port holds at most a quarter of the process's open files. Several ports,
    /// the sessions and the connections to the API server share these.
    pub fn within_open_files(self, open_files: usize) -> Self {
        let all = self.all.min(open_files / 4).max(2);
        Self { all, unfinished: self.unfinished.min(all / 2) }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1_048_576, 512, 256)]
    #[case(1024, 256, 128)]
    #[case(256, 64, 32)]
    #[case(0, 2, 1)]
    fn open_files_bound_the_limits(#[case] open_files: usize, #[case] all: usize, #[case] unfinished: usize) {
        let limits = Limits { all: 512, unfinished: 256 }.within_open_files(open_files);
        assert_eq!(limits, Limits { all, unfinished });
    }
}
