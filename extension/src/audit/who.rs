//! The session that statements come from.

use std::cell::RefCell;

use pgrx::direct_function_call_as_datum;
use pgrx::pg_sys::{self, Oid};

use super::event::{Description, SessionDescription};
use super::{collect, settings, text};
use crate::pg::{self, leaf, nodes};

/// PostgreSQL counts from 2000, everybody else from 1970: `POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE` days.
const EPOCH_DIFFERENCE: i64 = 10_957 * 86_400 * 1_000_000;

/// Microseconds since 1970.
pub(crate) fn unix(timestamp: pg_sys::TimestampTz) -> i64 {
    timestamp.saturating_add(EPOCH_DIFFERENCE)
}

/// The reverse of [`unix`].
pub(crate) fn postgres(micros: i64) -> pg_sys::TimestampTz {
    micros - EPOCH_DIFFERENCE
}

/// The clock, in microseconds since 1970.
pub(crate) fn now() -> i64 {
    unix(leaf::GetCurrentTimestamp())
}

struct Known {
    login: Oid,
    application: Vec<u8>,
    number: u64,
    json: std::rc::Rc<[u8]>,
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// The description of this session, and its number.
pub(super) fn session() -> (u64, std::rc::Rc<[u8]>) {
    // SAFETY: reads backend state; the setting is a C string.
    let (login, application) = unsafe {
        let name = pg_sys::application_name;
        let name = if name.is_null() {
            c""
        } else {
            std::ffi::CStr::from_ptr(name)
        };
        (pg_sys::GetSessionUserId(), name.to_bytes())
    };
    KNOWN.with_borrow_mut(|known| {
        if let Some(known) = known
            .as_ref()
            .filter(|known| known.login == login && known.application == application)
        {
            return (known.number, known.json.clone());
        }
        let (number, json) = (collect::next_number(), describe(login, application).into());
        *known = Some(Known {
            login,
            application: application.to_vec(),
            number,
            json,
        });
        known
            .as_ref()
            .map(|known| (known.number, known.json.clone()))
            .expect("just set")
    })
}

fn describe(login: Oid, application: &[u8]) -> Vec<u8> {
    // SAFETY: catalog lookups; the database's name is a fresh copy or NULL.
    let (database, backend_start) = unsafe {
        (
            nodes::string(pg_sys::get_database_name(pg_sys::MyDatabaseId)),
            unix(pg_sys::MyStartTimestamp),
        )
    };
    let description = Description::Session(SessionDescription {
        login_role: pg::role_name(login).unwrap_or_else(|| login.to_u32().to_string()),
        database,
        application_name: String::from_utf8_lossy(application).into_owned(),
        client_addr: client_addr(),
        backend_pid: std::process::id(),
        backend_start,
    });
    serde_json::to_vec(&description).unwrap_or_default()
}

fn client_addr() -> Option<String> {
    // SAFETY: the function takes no arguments and returns inet or null; the output function of inet takes what it returned.
    unsafe {
        if pg_sys::MyProcPort.is_null() {
            return None;
        }
        let address = direct_function_call_as_datum(pg_sys::inet_client_addr, &[])?;
        let (mut output, mut varlena) = (Oid::INVALID, false);
        pg_sys::getTypeOutputInfo(pg_sys::INETOID, &mut output, &mut varlena);
        let text = pg_sys::OidOutputFunctionCall(output, address);
        Some(nodes::string(text))
    }
}

/// The values of a statement's parameters as texts, in order, all together of about the size of one text.
///
/// # Safety
/// `params` is NULL or valid.
pub(super) unsafe fn parameters(params: pg_sys::ParamListInfo) -> Option<serde_json::Value> {
    if params.is_null() || (*params).numParams <= 0 {
        return None;
    }
    // A client can bind any number of long ones.
    let mut room = settings::TEXT_SIZE.get() as usize;
    let values = (0..(*params).numParams).map(|index| {
        let mut workspace = pg_sys::ParamExternData::default();
        let param = match (*params).paramFetch {
            Some(fetch) => fetch(params, index + 1, false, &mut workspace),
            None => (*params).params.as_mut_ptr().add(index as usize),
        };
        if (*param).isnull || (*param).ptype == Oid::INVALID {
            return serde_json::Value::Null;
        }
        let (mut output, mut varlena) = (Oid::INVALID, false);
        pg_sys::getTypeOutputInfo((*param).ptype, &mut output, &mut varlena);
        let text = pg_sys::OidOutputFunctionCall(output, (*param).value);
        let owned = nodes::string(text);
        pg_sys::pfree(text.cast());
        let shown = text::cut(&owned, room);
        room = room.saturating_sub(shown.len());
        shown.into()
    });
    Some(serde_json::Value::Array(values.collect()))
}
