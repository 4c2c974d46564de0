//! Numbers out of the texts in which Linux tells of memory.

/// The value of `name` in a text such as `/proc/meminfo` or `/proc/self/status`, in bytes.
pub fn proc_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_is_available() {
        let text = "MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:    1234 kB\n";
        assert_eq!(proc_bytes(text, "MemAvailable"), Some(1234 * 1024));
        assert_eq!(proc_bytes("MemTotal: 1 kB\n", "MemAvailable"), None);
        assert_eq!(proc_bytes("MemAvailable: much\n", "MemAvailable"), None);
    }
}
