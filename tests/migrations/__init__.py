"""Tests of migrations, rights and the SQL scripts that operators run."""
