"""Networks that CNI plugins make: CNI specification 1.0.0."""
