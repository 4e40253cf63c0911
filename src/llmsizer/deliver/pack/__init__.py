"""The decision pack: memo, report, workbook and bill of materials, tied together by one hash."""
