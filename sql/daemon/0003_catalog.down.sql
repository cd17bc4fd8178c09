alter table sync_states drop column catalog_drift, drop column catalog_checked_at, drop column warnings;
drop table discovery_jobs, catalog_columns, catalog_tables, catalog_schemas;
alter table data_sources drop column catalog_mode;
