//! Windows that adjoin: each is a pane of its own.

/// Windows of which each time falls in exactly one. All instants are microseconds since the Unix epoch.
pub trait Adjacent: Copy {
    /// Start and end of the window that holds `time`.
    fn span(&self, time: i64) -> (i64, i64);

    /// Start and end of the window of each time. Times within one window of the time before are not worked out again.
    fn spans(&self, times: &[i64]) -> (Vec<i64>, Vec<i64>) {
        let (mut starts, mut ends) = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
        let (mut start, mut end) = (0, 0);
        for &time in times {
            if time < start || time >= end {
                (start, end) = self.span(time);
            }
            starts.push(start);
            ends.push(end);
        }
        (starts, ends)
    }
}
