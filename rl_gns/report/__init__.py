"""Figures and tables of runs and studies; it reads them, it never trains."""
