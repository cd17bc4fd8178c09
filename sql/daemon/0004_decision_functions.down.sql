alter table policy_versions drop decision_function_id;
alter table policies drop decision_function_id;
drop table decision_functions;
