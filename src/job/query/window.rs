//! The window of a call: its arguments checked, in the form that the engine takes.

use crate::event::{Micros, Stream};
use crate::job::Problems;
use crate::job::definition::{Spanned, WindowCall, WindowFunction};
use crate::windows::{Tumbling, WINDOW_COLUMNS, Window};

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
    };
    window.filter(|_| fine)
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
