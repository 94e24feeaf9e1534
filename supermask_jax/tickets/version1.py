"""Reads tickets of format version 1; nothing writes them. This module goes with release 0.2.

Version 1 held positions as numbers of a range coder (that of LZMA, 12-bit probabilities), bitmaps
among the signs, and a preset dictionary for its metadata.
"""

from __future__ import annotations

import base64
import zlib

import numpy as np

from supermask_jax.errors import UserError
from supermask_jax.tickets import metadata
from supermask_jax.tickets import positions as places
from supermask_jax.tickets.metadata import LayerEntry, Metadata
from supermask_jax.tickets.positions import Reader

FORMAT = "supermask-ticket-1"

_LENGTHS, _TREE_BITS = 32, 3


def open(tensors: dict[str, np.ndarray]) -> tuple[Metadata, Stream, Reader]:  # noqa: A001
    """Returns metadata, positions and bits of the tensors of a file.

    Raises:
      UserError: the metadata are not those of a ticket.
    """
    values = metadata.unpack(tensors["meta"].tobytes(), _DICTIONARY)
    coded = values.get("coded")
    if type(coded) is not int or coded < 0:
        raise UserError("entry 'coded' of its metadata is no length")
    bits = Reader("signs", np.unpackbits(tensors["mask"][coded:]))
    return metadata.check(values), Stream(tensors["mask"][:coded].tobytes(), bits), bits


class Stream(Reader):
    """The stream of the coder, and the bits beside it."""

    def __init__(self, data: bytes, bits: Reader) -> None:
        self._data, self._at = data, 4
        self.bits = bits.take
        self._range, self._code = 2**32 - 1, int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def placed(self, entry: LayerEntry) -> tuple[int, tuple[int, int]]:
        """Returns the order of a layer, and how many live rows and columns it has."""
        dead_rows, dead_columns, order = self._numbers(3)
        if order > places.BITS:
            raise UserError("its positions are of an unknown order")
        rows, columns = places.matrix_shape(entry.shape)
        return order, (rows - dead_rows, columns - dead_columns)

    def indices(self, count: int, magnitudes: int) -> np.ndarray:
        """Reads which of the `magnitudes` each of `count` weights has, int [count]."""
        return np.array(self._numbers(count if magnitudes > 1 else 0) or [0] * count, np.int64)

    def rising(self, count: int, size: int) -> np.ndarray:
        """Reads gaps as `count` rising numbers, int64 [count]."""
        return np.cumsum(np.array(self._numbers(count, size), np.int64) + 1) - 1

    def _numbers(self, count: int, total: int = 2**32) -> list[int]:
        """Returns the next numbers; where they and 1 for each exceed `total`, reading ends."""
        model: dict[tuple[int, int], tuple[int, int]] = {}
        found = []
        for _ in range(count):
            length = 1
            while length < _LENGTHS and self._bit(model, (0, length)):
                length += 1
            value, left = 1, length - 1
            for _ in range(min(left, _TREE_BITS)):
                value, left = value << 1 | self._bit(model, (length, value)), left - 1
            while left:
                step = min(left, 8)
                self._range >>= step
                bits = self._code // self._range
                self._code -= bits * self._range
                self._refill()
                value, left = value << step | bits, left - step
            total -= value
            if total < 0:
                raise UserError("its positions run beyond their layer")
            found.append(value - 1)
        return found

    def _bit(self, model: dict[tuple[int, int], tuple[int, int]], context: tuple[int, int]) -> int:
        """Returns the next bit under a context's probability of a 0 in 1/65536 and its count."""
        p, n = model.get(context, (1 << 15, 0))
        bound, rate = (self._range >> 12) * (p >> 4), min(7, (n + 1).bit_length())
        if bit := int(self._code >= bound):
            self._code -= bound
            self._range -= bound
            p -= p >> rate
        else:
            self._range = bound
            p += (65536 - p) >> rate
        model[context] = p, min(n + 1, 63)
        self._refill()
        return bit

    def _refill(self) -> None:
        while self._range < 1 << 24:
            self._range <<= 8
            self._code = self._code << 8 | (
                self._data[self._at] if self._at < len(self._data) else 0
            )
            self._at += 1


# The preset dictionary: text that metadata were likely to repeat, 3,028 bytes.
_DICTIONARY = zlib.decompress(
    base64.b85decode(
        "c-p;I+m7Nm5d9ZFXXspjX809^tRiuU7svM64&6P7f8Q#HgoI`^Gux|0faG$yT(@(|%$LRrwq*)FgkuRigOi{GN<6eyi3(*"
        "-_!1Oq1=op$i8H7Uf;1YnoauBGwJM>#3{rTu-KC3Fk}h)k%k~M=(9#`kr-CdE1U8Be(mG=&YvHu%l#+LmsE&eLW4no(mq#"
        "rs9*jMq&<AjV_xFFWZMH~Jc8lw%%mEZC)eg$u=X9~em^un*lyXz^7T!_Mf`gV~*s;>+bM|tO;90U;FZcUo7o!xTFkh|rC}"
        "sx;Wy8^rFgeM!aqY`NzqA7M-NJki^ZjW2@m##*^KO4~@Srr6)JKenii0&s*hyF_V+%(uLs!MRT<&_5!n<0Q%oS&KBab&PC"
        "oGMiO!@{WwYwrIl2w+|Z+}hxz3J?^=_0|be8q15-0ph$6~njsf3lpdi_J2jYJAD^6Q9xM*X<V1?Plrzx{o4Up)SD~0#E{F"
        "4K7PjAkj2g%~Je~`>mFqaO|y;)Mi1%W$ZqJ*!K~tM<RzeA&(7Vw1f}ZMpNjt65uoj#2tiq3S}A%31`l1TZ8gQH&!?<tSOs"
        ";f5sAfsRg;vlM`#E3!ysC{ogLEQAij+kBo&|#3TqKA{;_4oA=FpxtuT8^W|p95FdLiPw0zjh3?pj$fYHc9Iurm3bRfi=as"
        "^HN+UuXd83MQ6HIATk6~H${$fM|>2;eX6DgmPS%!T9W!a$!Q+s(V&_nrtTCdmZBaQW}LYHUpD27|hBVBRRlRxlimTz#Y5#"
        "`Amse?yS<|iR6+ZJ@BwOtUr3LlY;YlZAz<YSv%COOh3R&$sYH}@@6R3!!F=`nZcr>?+N<OcO{SJ%Uk!dPO<^l|qii%-2?k"
        "+c<|F;(<JYk^Z@OLL2jgCwOvGMhND!Hg4JYRV!e8@+V$(A|2g)3T<%O4t#k9!F8%lJ9VqIAhVb(BMdIjEZ;PCJ`LGQJAY~"
        "QPS*++AS7AMK7mqeCy)gySmi(mL3v`D-Lx{AQ`X}WwkRugdSyYvI<Rf^*Xip&2|SReG`M$UCXHtedHQrgKRO4j-2|0;dDh"
        "VQ&GD%c2+W>f;Torc#r2N+_1XN@L&;HF6JKHiRrpvNrj_fKP{4Yw-~z)GEV%#q3`j9AYBQ5$i($`U^O`QlUm>2AczWT#PG"
        "c4BMlXdN;zi=L=Jw5s^jbH4+nI*&NjcEORqSUiZuPtrxM!4>G7v_UyJ<LgDH!q<6s&PdWYZt3I^=@Qi1n9e@@<p`zaO0*e"
        "_#~Pgv<XAFbH29{u&CT`PQTZW-nzU(gKsYgpp5xd)uZ?q>O7xuA*TJ48SW{`75BT%=^b?@`b1_gw!0oqx{J"
    )
)
