"""Draws the picture that the quickstart and the end-to-end test read: a receipt, one line of it upside down.

    draw.py PICTURE.png
"""

import sys

from PIL import Image, ImageDraw, ImageFont

LINES = ("TERN CAFE", "2 x Cappuccino  7.60", "1 x Croissant  2.40", "Total EUR 10.00", "Thank you for your visit")
UPSIDE_DOWN = "Table 17"


def receipt():
    picture = Image.new("RGB", (640, 480), (246, 243, 232))
    pen = ImageDraw.Draw(picture)
    for i, line in enumerate(LINES):
        pen.text((60, 30 + 70 * i), line, fill=(30, 30, 50), font=ImageFont.load_default(size=44 if i == 0 else 36))
    strip = Image.new("RGB", (190, 56), (246, 243, 232))
    ImageDraw.Draw(strip).text((12, 4), UPSIDE_DOWN, fill=(120, 20, 20), font=ImageFont.load_default(size=36))
    picture.paste(strip.rotate(180), (380, 400))
    return picture


if __name__ == "__main__":
    receipt().save(sys.argv[1])
