//! The cookie of a browser that is signed in to the Studio. Its name has the port, since browsers send the cookies of one host
//! to every port of it, and daemons on two ports must not sign each other out.

use http::header::COOKIE;
use http::request::Parts;

use super::cors;

/// The name of the cookie of the daemon that a request reached.
pub(crate) fn name(request: &Parts) -> String {
    let own = cors::own_origin(request).unwrap_or_default();
    let port = own.rsplit_once(':').map_or("", |(_, port)| port);
    let port = if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() { port } else { "80" };
    format!("easel-studio-{port}")
}

/// The value of that cookie, if it came.
pub(crate) fn of_studio(request: &Parts) -> Option<&str> {
    let name = name(request);
    let lines = request.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(host: &str, cookies: &[&str]) -> Parts {
        let mut request = http::Request::post("/").header("host", host);
        for cookie in cookies {
            request = request.header("cookie", *cookie);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn each_port_has_its_own_cookie() {
        let cookies = ["theme=dark; easel-studio-7462=other", "easel-studio-7461=mine; last=1"];
        assert_eq!(of_studio(&parts("127.0.0.1:7461", &cookies)), Some("mine"));
        assert_eq!(of_studio(&parts("localhost:7462", &cookies)), Some("other"));
        assert_eq!(of_studio(&parts("[::1]:7461", &cookies)), Some("mine"));
        assert_eq!(of_studio(&parts("[::1]", &cookies)), None);
        assert_eq!(name(&parts("[::1]", &[])), "easel-studio-80");
    }
}
