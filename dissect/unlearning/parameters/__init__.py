"""The parameters that a run trains, and the tensors that its optimiser steps."""
