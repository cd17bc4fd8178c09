//! betweenrows: data access governance inside PostgreSQL.

::pgrx::pg_module_magic!(name, version);
