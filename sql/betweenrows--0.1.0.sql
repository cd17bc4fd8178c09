\echo Use "CREATE EXTENSION betweenrows" to load this file. \quit
