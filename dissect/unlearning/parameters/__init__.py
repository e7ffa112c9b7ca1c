"""Which parameters a run trains, and what its optimiser steps."""
