"""Tables and figures of one subject each: the answer, places, precision, evidence, records."""
