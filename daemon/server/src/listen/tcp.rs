//! One port in both families of the loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::BindError;

/// Tries for a port that the system chose in one family and that is taken in the other.
const TRIES_OF_ANY_PORT: usize = 16;

/// Binds the first port that is free in every family that the machine has; without `ipv6` in the first alone.
pub(super) fn bind(ports: &[u16], ipv6: bool) -> Result<Vec<TcpListener>, BindError> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no port is configured");
    for &port in ports {
        let tries = if port == 0 { TRIES_OF_ANY_PORT } else { 1 };
        for _ in 0..tries {
            match bind_port(port, ipv6) {
                Ok(listeners) => return Ok(listeners),
                Err(error) => last = error,
            }
        }
    }
    Err(BindError::PortsTaken { ports: ports.to_vec(), source: last })
}

fn bind_port(port: u16, ipv6: bool) -> io::Result<Vec<TcpListener>> {
    let v4 = listener(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    if !ipv6 {
        return Ok(vec![v4]);
    }
    let port = v4.local_addr()?.port();
    match listener(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) if is_family_missing(&error) => {
            tracing::warn!(%error, "this machine has no IPv6 loopback, listening on 127.0.0.1 only");
            Ok(vec![v4])
        }
        Err(error) => Err(error),
    }
}

/// Takes listeners over. One family on the loopback is enough; with `ipv6` the other is added on the same port where it can be.
pub(super) fn adopt(mut listeners: Vec<TcpListener>, ipv6: bool) -> Result<Vec<TcpListener>, BindError> {
    let refused = |socket: String, why: &str| BindError::Inherited { socket, why: why.to_owned() };
    let unknown = |error: io::Error| refused("(unknown)".to_owned(), &error.to_string());
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>().map_err(unknown)?;
    for (index, address) in addresses.iter().enumerate() {
        if !address.ip().is_loopback() {
            return Err(refused(address.to_string(), "it is not on the loopback"));
        }
        if addresses[..index].iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            return Err(refused(address.to_string(), "there is another of its family"));
        }
        listeners[index].set_nonblocking(true).map_err(unknown)?;
    }
    listeners.sort_by_key(|listener| listener.local_addr().is_ok_and(|address| address.is_ipv6()));
    if let ([v4], true) = (&*addresses, ipv6)
        && v4.is_ipv4()
        && let Ok(v6) = listener(SocketAddr::from((Ipv6Addr::LOCALHOST, v4.port())))
    {
        listeners.push(v6);
    }
    Ok(listeners)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// True when the machine does not speak the family, false when the port is the trouble.
fn is_family_missing(error: &io::Error) -> bool {
    let taken = matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied);
    !taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_have_one_port() {
        let listeners = bind(&[0], true).unwrap();
        let ports: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
        assert!(listeners.iter().all(|l| l.local_addr().unwrap().ip().is_loopback()));
    }

    #[test]
    fn without_ipv6_there_is_one_listener() {
        let listeners = bind(&[0], false).unwrap();
        assert_eq!(listeners.len(), 1);
        assert!(listeners[0].local_addr().unwrap().is_ipv4());
    }

    #[test]
    fn the_first_free_port_of_a_block_is_taken() {
        let taken = bind(&[0], true).unwrap();
        let free = bind(&[0], true).unwrap();
        let port = |listeners: &[TcpListener]| listeners[0].local_addr().unwrap().port();
        let block = [port(&taken), port(&free)];
        drop(free);
        assert_eq!(port(&bind(&block, true).unwrap()), block[1]);
        let error = bind(&block[..1], true).unwrap_err();
        assert!(matches!(error, BindError::PortsTaken { ref source, .. } if source.kind() == io::ErrorKind::AddrInUse));
    }

    #[test]
    fn a_port_that_is_taken_in_one_family_is_not_used() {
        let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            return; // No IPv6 here: there is no second family.
        };
        let port = v6.local_addr().unwrap().port();
        assert!(bind(&[port], true).is_err());
    }

    #[test]
    fn listeners_are_taken_over_when_they_are_on_the_loopback() {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = v4.local_addr().unwrap().port();
        let adopted = adopt(vec![v4], true).unwrap();
        assert!(adopted.iter().all(|listener| listener.local_addr().unwrap().port() == port));
        let everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let error = adopt(vec![everywhere], false).unwrap_err();
        assert!(error.to_string().contains("not on the loopback"), "{error}");
        let two = [0, 0].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        assert!(adopt(two.into(), false).is_err());
    }

    #[test]
    fn a_missing_family_is_told_from_a_taken_port() {
        assert!(is_family_missing(&io::ErrorKind::AddrNotAvailable.into()));
        assert!(is_family_missing(&io::ErrorKind::Unsupported.into()));
        assert!(!is_family_missing(&io::ErrorKind::AddrInUse.into()));
    }
}
