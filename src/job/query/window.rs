//! The window of a call: its arguments checked, in the form that the engine takes.

use chrono_tz::Tz;

use super::names::did_you_mean;
use crate::event::{Micros, Stream};
use crate::job::Problems;
use crate::job::definition::{Spanned, WindowCall, WindowFunction};
use crate::job::interval::Length;
use crate::windows::{
    ByData, COUNT_WINDOW_COLUMNS, Calendar, CalendarLength, Counting, Cumulating, Hopping, Session, Sliding, Tumbling,
    WINDOW_COLUMNS, Window,
};

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
    arguments(call, problems).filter(|_| fine)
}

/// The window of a call, whatever it makes windows of.
pub(super) fn arguments(call: &WindowCall, problems: &mut Problems) -> Option<Window> {
    match &call.function {
        WindowFunction::Tumble { size, offset, zone } => tumble(size, offset.as_ref(), zone.as_ref(), problems),
        WindowFunction::Hop { slide, size, offset } => hop(slide, size, offset.as_ref(), problems),
        WindowFunction::Cumulate { step, size, offset } => cumulate(step, size, offset.as_ref(), problems),
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
    }
}

/// The names of the columns that a call's window adds.
pub(super) fn window_columns(call: &WindowCall) -> &'static [&'static str] {
    match call.function {
        WindowFunction::Counting { .. } => &COUNT_WINDOW_COLUMNS,
        _ => &WINDOW_COLUMNS,
    }
}

/// The window, told apart by so many of the group keys.
pub(super) fn by_partition_keys(window: Window, partition_keys: usize) -> Window {
    match window {
        Window::ByData(ByData::Session(window)) => {
            Window::ByData(ByData::Session(Session { partition_keys, ..window }))
        }
        Window::ByData(ByData::Counting(window)) => {
            Window::ByData(ByData::Counting(Counting { partition_keys, ..window }))
        }
        other => other,
    }
}

/// The most windows that a record may fall in: a late row counts them, and each is a result of its own.
const WINDOWS_OF_A_RECORD_MAX: i64 = 10_000;

/// Event times are years 1 to 9999, so that nothing longer ever ends.
const LENGTH_MAX: Micros = Micros(3_652_425 * DAY.0);

const DAY: Micros = Micros::from_seconds(86_400);

fn tumble(
    size: &Spanned<Length>,
    offset: Option<&Spanned<Micros>>,
    zone: Option<&Spanned<String>>,
    problems: &mut Problems,
) -> Option<Window> {
    match (size.value, zone) {
        (Length::Fixed(length), None) => {
            let size = positive(&Spanned { value: length, span: size.span }, "a window's size", problems)?;
            Some(Window::Tumbling(Tumbling { size, offset: modulo(offset, size) }))
        }
        (Length::Fixed(length), Some(zone)) => {
            let length = positive(&Spanned { value: length, span: size.span }, "a window's size", problems)?;
            let zone = time_zone(zone, problems);
            let odd = [Some((length, size.span)), offset.map(|offset| (offset.value, offset.span))];
            let mut odd = odd.into_iter().flatten().filter(|(length, _)| length.0 % DAY.0 != 0);
            if let Some((_, span)) = odd.next() {
                let help = "write whole days, months or years, or leave TIME ZONE out";
                problems.add(span, "TIME ZONE goes with whole days, months and years", help);
                return None;
            }
            let count = length.0 / DAY.0;
            let shift = offset.map_or(0, |offset| (offset.value.0 / DAY.0).rem_euclid(count));
            Some(Window::Calendar(Calendar { length: CalendarLength::Days { count, shift }, zone: zone? }))
        }
        (Length::Months(months), zone) => {
            if let Some(offset) = offset {
                let help =
                    "leave the offset out: windows begin with the first of a month; TIME ZONE 'Area/City' says where";
                problems.add(offset.span, "windows of months and years take no offset", help);
                return None;
            }
            let zone = zone.map_or(Some(Tz::UTC), |zone| time_zone(zone, problems))?;
            Some(Window::Calendar(Calendar { length: CalendarLength::Months(months), zone }))
        }
    }
}

fn hop(
    slide: &Spanned<Micros>,
    size: &Spanned<Micros>,
    offset: Option<&Spanned<Micros>>,
    problems: &mut Problems,
) -> Option<Window> {
    let of_slide = positive(slide, "the slide", problems);
    let of_size = positive(size, "a window's size", problems);
    let window = Hopping { slide: of_slide?, size: of_size?, offset: modulo(offset, of_slide?) };
    let help = format!(
        "slide first, then size: make the slide at least {}",
        Micros((window.size.0 - 1) / WINDOWS_OF_A_RECORD_MAX + 1)
    );
    few_enough(window.windows_of_a_record(), slide, help, problems)?;
    Some(Window::Hopping(window))
}

fn cumulate(
    step: &Spanned<Micros>,
    size: &Spanned<Micros>,
    offset: Option<&Spanned<Micros>>,
    problems: &mut Problems,
) -> Option<Window> {
    let of_step = positive(step, "the step", problems);
    let of_size = positive(size, "a window's size", problems);
    let window = Cumulating { step: of_step?, size: of_size?, offset: modulo(offset, of_size?) };
    if window.size.0 % window.step.0 != 0 {
        let message = format!("the size, {}, is no multiple of the step, {}", window.size, window.step);
        let below = Micros(window.size.0 - window.size.0 % window.step.0);
        let above = below.0.checked_add(window.step.0).map(Micros);
        let sizes: Vec<String> = [Some(below).filter(|below| below.0 > 0), above]
            .into_iter()
            .flatten()
            .map(|size| size.to_string())
            .collect();
        problems.add(
            size.span,
            message,
            format!("step first, then size: a size of {}, for example", sizes.join(" or ")),
        );
        return None;
    }
    let help = format!(
        "make the step at least {}, and a divisor of the size",
        Micros((window.size.0 - 1) / WINDOWS_OF_A_RECORD_MAX + 1)
    );
    few_enough(window.windows_of_a_record(), step, help, problems)?;
    Some(Window::Cumulating(window))
}

fn positive(length: &Spanned<Micros>, what: &str, problems: &mut Problems) -> Option<Micros> {
    if length.value.0 <= 0 {
        problems.add(length.span, format!("{what} must be positive"), "write INTERVAL '1 minute', for example");
        return None;
    }
    if length.value > LENGTH_MAX {
        problems.add(length.span, format!("{what} is longer than 10,000 years"), "event times are years 1 to 9999");
        return None;
    }
    Some(length.value)
}

fn few_enough(count: i64, pace: &Spanned<Micros>, help: String, problems: &mut Problems) -> Option<()> {
    if count <= WINDOWS_OF_A_RECORD_MAX {
        return Some(());
    }
    problems.add(pace.span, format!("a record would fall in {count} windows; 10000 are the most"), help);
    None
}

/// An offset counts modulo the period, negative ones too.
fn modulo(offset: Option<&Spanned<Micros>>, period: Micros) -> Micros {
    offset.map_or(Micros(0), |offset| Micros(offset.value.0.rem_euclid(period.0)))
}

fn time_zone(name: &Spanned<String>, problems: &mut Problems) -> Option<Tz> {
    if let Ok(zone) = name.value.parse::<Tz>() {
        return Some(zone);
    }
    let zones = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    let same = zones.clone().find(|zone| zone.eq_ignore_ascii_case(&name.value));
    let help = match same {
        Some(zone) => format!("did you mean `{zone}`?"),
        None => did_you_mean(&name.value, zones, "zones are named as in 'Europe/Berlin' or 'UTC'".to_owned()),
    };
    problems.add(name.span, format!("unknown time zone `{}`", name.value), help);
    None
}
