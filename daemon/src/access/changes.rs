//! What differs between two views of a table, in words: what a subject gains and what it loses.

use super::{FilterView, TableView};

/// Gains and losses, one line each. What is merely different is in both.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// What is seen and was not.
    pub gains: Vec<String>,
    /// What was seen and is not.
    pub loses: Vec<String>,
}

/// What changes from one view of a table to another one of the same table.
pub fn differences(before: &TableView, after: &TableView) -> Differences {
    let mut found = Differences::default();
    match (before.is_visible, after.is_visible) {
        (false, false) => return found,
        (false, true) => found.gains.push("the table".to_owned()),
        (true, false) => {
            let reason = after.hidden_because.as_deref().unwrap_or_default();
            found.loses.push(format!("the table: {reason}"));
            return found;
        }
        (true, true) => {}
    }
    for (old, new) in before.columns.iter().zip(&after.columns) {
        let name = &new.column;
        let rank = |access: &str| {
            ["hidden", "masked", "visible"]
                .iter()
                .position(|known| *known == access)
        };
        match rank(&old.access).cmp(&rank(&new.access)) {
            std::cmp::Ordering::Less => found.gains.push(format!("column {name}: {}", sight(new))),
            std::cmp::Ordering::Greater => found.loses.push(format!("column {name}: {}", sight(new))),
            std::cmp::Ordering::Equal if old.mask != new.mask => {
                found.gains.push(format!("column {name}: {}", sight(new)));
                found.loses.push(format!("column {name}: {}", sight(old)));
            }
            std::cmp::Ordering::Equal => {}
        }
    }
    rows(before, after, &mut found);
    found
}

fn sight(column: &super::ColumnView) -> String {
    match &column.mask {
        Some(mask) => format!("masked as {mask}"),
        None => column.access.clone(),
    }
}

/// A restrictive filter takes rows away, a permissive one among others adds some; the first permissive one takes all
/// others away.
fn rows(before: &TableView, after: &TableView, found: &mut Differences) {
    let of = |view: &TableView, mode: &str| -> Vec<FilterView> {
        let filters = view.filters.iter().filter(|filter| filter.mode == mode);
        filters.cloned().collect()
    };
    let (old, new) = (of(before, "restrictive"), of(after, "restrictive"));
    for filter in new.iter().filter(|filter| !has(&old, filter)) {
        found.loses.push(format!("rows but those with {}", told(filter)));
    }
    // What a table that was hidden would have shown is no gain over nothing.
    for filter in old.iter().filter(|filter| before.is_visible && !has(&new, filter)) {
        found.gains.push(format!("rows other than those with {}", told(filter)));
    }
    let (old, new) = (of(before, "permissive"), of(after, "permissive"));
    match (old.is_empty() || !before.is_visible, new.is_empty()) {
        (true, true) => {}
        (true, false) => {
            let told: Vec<String> = new.iter().map(told).collect();
            found.loses.push(format!("rows but those with {}", told.join(" or ")));
        }
        (false, true) => {
            let told: Vec<String> = old.iter().map(told).collect();
            found
                .gains
                .push(format!("rows other than those with {}", told.join(" or ")));
        }
        (false, false) => {
            let lines = |of: &[FilterView], other: &[FilterView]| -> Vec<String> {
                let only = of.iter().filter(|filter| !has(other, filter));
                only.map(|filter| format!("rows with {}", told(filter))).collect()
            };
            found.gains.extend(lines(&new, &old));
            found.loses.extend(lines(&old, &new));
        }
    }
}

/// Whether a filter does the same as one of the others, whatever they are called.
fn has(others: &[FilterView], filter: &FilterView) -> bool {
    let same = |other: &FilterView| {
        (&other.expression, &other.decision_function) == (&filter.expression, &filter.decision_function)
    };
    others.iter().any(same)
}

fn told(filter: &FilterView) -> String {
    match &filter.decision_function {
        Some(function) => format!("{} (when {function} fires)", filter.expression),
        None => filter.expression.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::ColumnView;

    fn view(columns: &[(&str, &str)], filters: &[(&str, &str)]) -> TableView {
        let column = |(column, access): &(&str, &str)| ColumnView {
            column: (*column).to_owned(),
            data_type: "text".to_owned(),
            access: if access.starts_with('=') { "masked" } else { access }.to_owned(),
            mask: access.strip_prefix('=').map(str::to_owned),
            policy: None,
        };
        let filter = |(mode, expression): &(&str, &str)| FilterView {
            policy: "p".to_owned(),
            expression: (*expression).to_owned(),
            mode: (*mode).to_owned(),
            decision_function: None,
        };
        TableView {
            schema: "s".to_owned(),
            table: "t".to_owned(),
            kind: "table".to_owned(),
            is_visible: true,
            hidden_because: None,
            columns: columns.iter().map(column).collect(),
            filters: filters.iter().map(filter).collect(),
            policies: Vec::new(),
        }
    }

    fn hidden(mut view: TableView) -> TableView {
        view.is_visible = false;
        view.hidden_because = Some("why".to_owned());
        view
    }

    #[track_caller]
    fn expect(before: &TableView, after: &TableView, gains: &[&str], loses: &[&str]) {
        let found = differences(before, after);
        assert_eq!((found.gains, found.loses), (owned(gains), owned(loses)));
    }

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn columns_are_gained_lost_and_shown_otherwise() {
        let before = view(&[("a", "visible"), ("b", "hidden"), ("c", "=x"), ("d", "=x")], &[]);
        let after = view(&[("a", "=m"), ("b", "=n"), ("c", "=y"), ("d", "=x")], &[]);
        expect(
            &before,
            &after,
            &["column b: masked as n", "column c: masked as y"],
            &["column a: masked as m", "column c: masked as x"],
        );
        expect(&before, &before, &[], &[]);
    }

    #[test]
    fn tables_come_and_go() {
        let shown = view(&[("a", "visible")], &[("restrictive", "r")]);
        let away = hidden(view(&[("a", "hidden")], &[]));
        expect(&shown, &away, &[], &["the table: why"]);
        let gains = ["the table", "column a: visible"];
        expect(&away, &shown, &gains, &["rows but those with r"]);
        expect(&away, &away, &[], &[]);
    }

    #[test]
    fn rows_follow_the_kind_of_filter() {
        let with = |filters: &[(&str, &str)]| view(&[], filters);
        let (r, p, q) = (("restrictive", "r"), ("permissive", "p"), ("permissive", "q"));
        expect(&with(&[]), &with(&[r]), &[], &["rows but those with r"]);
        expect(&with(&[r]), &with(&[]), &["rows other than those with r"], &[]);
        expect(&with(&[]), &with(&[p, q]), &[], &["rows but those with p or q"]);
        expect(&with(&[p]), &with(&[]), &["rows other than those with p"], &[]);
        expect(&with(&[p]), &with(&[q]), &["rows with q"], &["rows with p"]);
        expect(&with(&[p, r]), &with(&[r, p]), &[], &[]);
    }
}
