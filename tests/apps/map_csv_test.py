"""`hogpen map` on CSV files."""
import math
import os
import random
import resource

import hogpen
from map_test import MapTest


class Csv(MapTest):
    def square(self, text, *arguments):
        """The file's text after `square`."""
        self.write("x.csv", text)
        self.map("square", "x.csv", "y.csv", *arguments)
        return self.read("y.csv").decode()

    def test_one_column_by_name_or_index(self):
        text = "id,price,name\n1,2.5,a\n2,-3,b\n"
        expected = "id,price,name\n1,6.25,a\n2,9,b\n"
        for column in ("price", "1", "-2"):
            self.assertEqual(self.square(text, "--column", column), expected, column)

    def test_all_columns(self):
        self.assertEqual(self.square("a,b\n1,2\n3,4\n"), "a,b\n1,4\n9,16\n")

    def test_no_header(self):
        self.assertEqual(self.square("1,2\n3,4\n", "--no-header"), "1,4\n9,16\n")
        self.assertEqual(self.square("1,2\n3,4\n", "--no-header", "--column=-1"), "1,4\n3,16\n")
        stderr = self.map("square", "x.csv", "y.csv")
        self.assertIn("the header of x.csv holds only numbers; if it is data: --no-header", stderr)

    def test_other_delimiters(self):
        self.assertEqual(self.square("a;b\n1,5;2\n", "--delimiter=;", "--column=b"), "a;b\n1,5;4\n")
        for tab in ("\t", "tab", "\\t"):
            self.assertEqual(self.square("a\tb\n1\t2\n", "--delimiter", tab), "a\tb\n1\t4\n")
        for wrong in ('"', "::", "e", "1", "+", "-", "."):
            self.fail_with(2, "square", "x.csv", "y.csv", f"--delimiter={wrong}", says="one character that is no quote")

    def test_every_other_byte_stays(self):
        text = ("\ufeff\"the, \"\"name\"\"\",x , y\r\n"
                "\"a\r\nb,c\",2,\"\"\"\"\r\n"
                "\r\n"
                "5\" pipe, 3\t,é\n"
                "\"\",\" 4 \",\" 5\"\n"
                ",\"+5\",\r\n"
                "  spaced  ,,last")
        expected = (text.replace("\",2,", "\",4,").replace(" 3\t", " 9\t").replace(" 4 ", " 16 ").replace("+5", "25"))
        self.assertEqual(self.square(text, "--column=x"), expected)
        self.assertEqual(self.square(text, "--column=1"), expected)

    def test_a_quoted_name_is_found_as_it_is_meant(self):
        self.assertEqual(self.square('"a ""b"", c",d\n2,3\n', '--column=a "b", c'), '"a ""b"", c",d\n4,3\n')

    def test_a_name_wins_over_an_index(self):
        self.assertEqual(self.square("1,0\n2,3\n", "--column=0"), "1,0\n2,9\n")

    def test_how_numbers_are_read_and_written(self):
        for text, expected in {"3": "9", "0.1": "0.010000000000000002", "1e5": "10000000000", "1e8": "1e+16", "-2": "4",
                               "+2": "4", "1.5e-3": "2.25e-06", ".5": "0.25", "5.": "25", "inf": "inf", "-inf": "inf",
                               "nan": "nan", "NaN": "nan", "Infinity": "inf", "1e200": "inf", "1e999": "inf",
                               "1e-999": "0", "": "", "  ": "  ", '""': '""', "-0": "0"}.items():
            self.assertEqual(self.square(f"a,b\n{text},1\n", "--column=a"), f"a,b\n{expected},1\n", text)
        self.write("x.csv", "a\n-1\n")
        self.map("log", "x.csv", "y.csv")
        self.assertEqual(self.read("y.csv"), b"a\nnan\n")

    def test_the_shortest_text_reads_back_the_same(self):
        generator = random.Random(1)
        numbers = [generator.uniform(-1, 1) * 10.0 ** generator.randint(-300, 300) for _ in range(20_000)]
        self.write("x.csv", "a\n" + "".join(f"{number!r}\n" for number in numbers))
        self.map("negate", "x.csv", "y.csv")
        lines = self.read("y.csv").decode().split()[1:]
        self.assertEqual([float(line) for line in lines], [-number for number in numbers])
        self.assertEqual([len(line) for line in lines], [len(repr(-number).removesuffix(".0")) for number in numbers])

    def test_files_larger_than_a_piece(self):
        rows = [(number / 1024, f"text {number}") for number in range(600_000)]
        self.write("x.csv", "a,b,c\n" + "".join(f"{x},{text},{x}\n" for x, text in rows))
        self.map("exp", "x.csv", "y.csv", "--column=a", "--threads=2")
        for line, (x, text) in zip(self.read("y.csv").decode().splitlines()[1:], rows, strict=True):
            first, second, third = line.split(",")
            self.assertEqual((second, third), (text, str(x)))
            self.assertTrue(math.isclose(float(first), math.exp(x), rel_tol=1e-15), line)

    def test_long_stretches_without_a_number(self):
        text = "a,b\n1,x\n" + f",{'y' * 999}\n" * 40_000 + "2,z\n"
        self.assertEqual(self.square(text, "--column=a"), text.replace("2,z", "4,z"))

    def test_files_without_rows(self):
        for text in ("", "\n", "a,b", "a,b\n", "a,b\r\n\r\n", "\ufeff"):
            self.assertEqual(self.square(text), text)
        self.assertEqual(self.square("a,b\n", "--column=b"), "a,b\n")
        self.write("x.csv", "")
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=a", says="x.csv is empty: it has no column 'a'")

    def test_an_empty_line_is_no_row_and_a_missing_value_in_one_column(self):
        self.assertEqual(self.square("a\n2\n\n3\n"), "a\n4\n\n9\n")
        self.assertEqual(self.square("a,b\n2,3\n\n4,5\n"), "a,b\n4,9\n\n16,25\n")

        self.write("x.csv", "a\n\n2\nx\n")
        self.fail_with(2, "square", "x.csv", "y.csv", says="x.csv: line 4: row 2, column 'a': 'x' is no number")

    def test_a_header_that_is_not_the_first_line(self):
        self.write("x.csv", "\na,b\n1,2\n")
        self.fail_with(2, "square", "x.csv", "y.csv", hint="is the first line the header?",
                       says="x.csv: line 2: row 1 must have 1 field as the first line, but has 2")

    def test_a_field_that_is_no_number(self):
        self.write("y.csv", "old")
        self.write("x.csv", 'id,price\n1,"2\n"\n2,abc\n')
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=price", says="x.csv: line 2: row 1, column 'price'")
        self.write("x.csv", 'id,price\n"1\n",2\n2,abc\n')
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=price",
                       says="x.csv: line 4: row 2, column 'price': 'abc' is no number",
                       hint="correct it, or leave the field empty where there is no value")
        for text in ("nan(1)", "-nan()", "1,5", "1 2", "0x10", "1e", "--1", "+-1", "++1", "1_000", "$5", "NA", "-", "+", "."):
            self.write("x.csv", f"a;b\n1;{text}\n")
            self.fail_with(2, "exp", "x.csv", "y.csv", "--delimiter=;", "--column=b", says=f"'{text}' is no number")

    def test_without_a_column_the_first_that_is_no_number_is_named(self):
        self.write("x.csv", "id,name,city\n1,Ann,Bonn\n")
        self.fail_with(2, "exp", "x.csv", "y.csv", says="x.csv: line 2: row 1, column 'name': 'Ann' is no number",
                       hint="choose a column that holds numbers: --column")
        self.fail_with(2, "exp", "x.csv", "y.csv", "--no-header", says="x.csv: line 1: row 1, column 0: 'id' is no number")

    def test_a_delimiter_that_was_not_named(self):
        self.write("x.csv", "a;b\n1;2\n")
        self.fail_with(2, "exp", "x.csv", "y.csv", says="'1;2' is no number",
                       hint="are the fields divided by another character? --delimiter")

    def test_columns_that_are_not_there(self):
        self.write("x.csv", "id,price,price2\n1,2,3\n")
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=pirce", says="x.csv has no column 'pirce'",
                       hint="did you mean 'price'?")
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=weight", says="x.csv has no column 'weight'",
                       hint="it has id, price, price2")
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=3", says="x.csv has no column 3: it has 3 columns")
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=id", "--no-header", says="x.csv has no column 'id'")
        self.write("x.csv", "a,b,a\n1,2,3\n")
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=a", says="x.csv has 2 columns 'a'")

    def test_rows_of_another_length(self):
        for row, count in (("1", 1), ("1,2,3", 3)):
            self.write("x.csv", f"a,b\n1,2\n{row}\n")
            self.fail_with(2, "exp", "x.csv", "y.csv", "--column=a",
                           says=f"x.csv: line 3: row 2 must have 2 fields as the first line, but has {count}")

    def test_a_quote_that_is_never_closed(self):
        self.write("x.csv", 'a,b\n1,2\n3,"4\n5,6\n')
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=a",
                       says="x.csv: line 3: a quote that opens a field is never closed")

    def test_text_after_a_closing_quote(self):
        self.assertEqual(self.square('"a" ,"b"\t\n"2" ,"3"\t\n'), '"a" ,"b"\t\n"4" ,"9"\t\n')
        for text, line in (('"a"\r"1"\r"2"\r', 1), ('a\n"1" 2\n', 2), ('a\n1\n"2"\r3\n', 3)):
            self.write("x.csv", text)
            self.fail_with(2, "square", "x.csv", "y.csv", says=f"x.csv: line {line}: there is text after a closing quote")

    def test_a_line_without_end_costs_no_memory(self):
        self.write("x.csv", "a\n" + "," * 60_000_000)
        limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
        options = {} if os.environ.get("HOGPEN_TEST_SANITIZER") else {"preexec_fn": limit}
        self.fail_with(2, "exp", "x.csv", "y.csv", "--threads=1", says="x.csv: line 2: a line has at most 1048576 fields",
                       **options)

    def test_an_error_shows_no_more_than_can_be_read(self):
        self.write("x.csv", "a\n\x1b[2J" + "x" * 1000 + "\n")
        self.fail_with(2, "exp", "x.csv", "y.csv", says="'\\x1b[2J" + "x" * 36 + "…' is no number")
        self.write("x.csv", ",".join(f"name\x1b{number}" for number in range(100)) + "\n")
        self.fail_with(2, "exp", "x.csv", "y.csv", "--column=z", says="has no column 'z'",
                       hint="it has " + ", ".join(f"name\\x1b{number}" for number in range(8)) + " and 92 more")

    def test_quiet_is_quiet_about_headers_too(self):
        self.write("x.csv", "1\n2\n")
        self.assertEqual(self.map("square", "x.csv", "y.csv", "--quiet"), "")

    def test_a_piece_is_large_enough_for_threads(self):
        self.write("x.csv", "a\n" + "1\n" * 3_000_000)
        self.assertIn("exp in pieces of 1,048,576 float64: ", self.map("exp", "x.csv", "y.csv", "-v"))

    def test_what_is_no_csv(self):
        self.write("x.csv", "a,b\n1,2\n".encode("utf-16"))
        self.fail_with(2, "exp", "x.csv", "y.csv", says="x.csv: byte 0: this is UTF-16",
                       hint="convert it: iconv -f UTF-16 -t UTF-8")
        self.write("x.csv", b"a,b\n1,\0\n")
        self.fail_with(2, "exp", "x.csv", "y.csv", says="x.csv: byte 6: this is no CSV, which is text")
        self.write("x.csv", "a,b\r1,2\r")
        self.fail_with(2, "exp", "x.csv", "y.csv", says="lines must end in LF or CRLF, but here CR stands alone")

    def test_in_place(self):
        self.write("x.csv", "a\n2\n")
        self.map("square", "x.csv", "--in-place")
        self.assertEqual(self.read("x.csv"), b"a\n4\n")


if __name__ == "__main__":
    hogpen.main()
