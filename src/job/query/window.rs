//! The window of a call: its arguments checked, in the form that the engine takes.

use crate::event::{Micros, Stream};
use crate::job::Problems;
use crate::job::definition::{Spanned, WindowCall, WindowFunction};
use crate::windows::{ByData, COUNT_WINDOW_COLUMNS, Counting, Session, Sliding, Tumbling, WINDOW_COLUMNS, Window};

/// The window of a call, its time argument checked.
pub(super) fn window(call: &WindowCall, stream: &Stream, problems: &mut Problems) -> Option<Window> {
    let time = &stream.columns[stream.event_time].name;
    let mut fine = true;
    if call.time.value != *time {
        let message = format!("`{}` isn't the time of stream `{}`", call.time.value, stream.name);
        problems.add(call.time.span, message, format!("windows go by the stream's watermark column: `{time}`"));
        fine = false;
    }
    for name in WINDOW_COLUMNS {
        if stream.columns.iter().any(|column| column.name == name) {
            let message = format!("stream `{}` has a column `{name}`, which the window adds too", stream.name);
            problems.add(
                call.span,
                message,
                "name the stream's column differently: x TYPE FROM 'window_start'".replace("window_start", name),
            );
            fine = false;
        }
    }
    let window = match &call.function {
        WindowFunction::Tumble { size, offset } => tumbling(size, offset.as_ref(), problems).map(Window::Tumbling),
        // How many keys tell windows apart shows when GROUP BY is planned.
        WindowFunction::Session { gap } => {
            Some(Window::ByData(ByData::Session(Session { gap: gap.value, partition_keys: 0 })))
        }
        WindowFunction::Counting { size, timeout } => Some(Window::ByData(ByData::Counting(Counting {
            size: size.value.into(),
            timeout: timeout.value,
            partition_keys: 0,
        }))),
        WindowFunction::Sliding { size } => Some(Window::ByData(ByData::Sliding(Sliding { size: size.value }))),
    };
    window.filter(|_| fine)
}

/// The names of the columns that a call's window adds.
pub(super) fn window_columns(call: &WindowCall) -> &'static [&'static str] {
    match call.function {
        WindowFunction::Counting { .. } => &COUNT_WINDOW_COLUMNS,
        _ => &WINDOW_COLUMNS,
    }
}

/// Whether `window_start` and `window_end` each decide the other, so that GROUP BY needs one of them only.
pub(super) fn edges_decide_each_other(call: &WindowCall) -> bool {
    !matches!(call.function, WindowFunction::Session { .. } | WindowFunction::Counting { .. })
}

fn tumbling(size: &Spanned<Micros>, offset: Option<&Spanned<Micros>>, problems: &mut Problems) -> Option<Tumbling> {
    if size.value.0 <= 0 {
        problems.add(size.span, "a window's size must be positive", "write INTERVAL '1 minute', for example");
        return None;
    }
    Some(Tumbling { size: size.value, offset: modulo(offset, size.value) })
}

/// An offset counts modulo the period, negative ones too.
fn modulo(offset: Option<&Spanned<Micros>>, period: Micros) -> Micros {
    offset.map_or(Micros(0), |offset| Micros(offset.value.0.rem_euclid(period.0)))
}
