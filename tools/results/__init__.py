"""Write the pages of docs/results from the result files beside them."""
