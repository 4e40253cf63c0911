"""Questions about hardware, precision, money: answered from facts, without measuring anything."""
