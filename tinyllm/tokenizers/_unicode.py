"""What this package asks of every code point in Unicode 18.0.0. Written by _unicode_generate.py.

RECORDS[record(point)] is its general category, White_Space, Alphabetic, Word_Break, Sentence_Break and
Extended_Pictographic; SCRIPTS[script(point)] is its script, in capitals and without underscores. Both tables have two
stages: a block of 64 code points that occurs twice is stored once.
"""

import base64
import struct
import zlib
from functools import cache
from typing import NamedTuple

VERSION = "18.0.0"
SIZE = 0x110000


class Record(NamedTuple):
    category: str
    word_break: str
    sentence_break: str
    white_space: bool
    alphabetic: bool
    pictographic: bool


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


def record(point: int) -> int:
    """The number of a code point's record."""
    return BLOCKS[INDEX[point >> 6] << 6 | point & 63]


def script(point: int) -> int:
    """The number of a code point's script."""
    return SCRIPT_BLOCKS[SCRIPT_INDEX[point >> 6] << 6 | point & 63]


@cache
def flat() -> bytes:
    """The number of every code point's record, in a row."""
    return b"".join(BLOCKS[block << 6 : block + 1 << 6] for block in INDEX)


@cache
def members(field: str, *values: object) -> bytes:
    """For each number of a record: 1 if its `field` is one of `values`, else 0. As bytes.translate takes it."""
    return bytes(getattr(one, field) in values for one in RECORDS).ljust(256, b"\0")


RECORDS = (
    Record("Cc", "Other", "Other", False, False, False),
    Record("Cc", "Other", "Sp", True, False, False),
    Record("Cc", "LF", "LF", True, False, False),
    Record("Cc", "Newline", "Sp", True, False, False),
    Record("Cc", "CR", "CR", True, False, False),
    Record("Zs", "WSegSpace", "Sp", True, False, False),
    Record("Po", "Other", "STerm", False, False, False),
    Record("Po", "Double_Quote", "Close", False, False, False),
    Record("Po", "Other", "Other", False, False, False),
    Record("Sc", "Other", "Other", False, False, False),
    Record("Po", "Single_Quote", "Close", False, False, False),
    Record("Ps", "Other", "Close", False, False, False),
    Record("Pe", "Other", "Close", False, False, False),
    Record("Sm", "Other", "Other", False, False, False),
    Record("Po", "MidNum", "SContinue", False, False, False),
    Record("Pd", "Other", "SContinue", False, False, False),
    Record("Po", "MidNumLet", "ATerm", False, False, False),
    Record("Nd", "Numeric", "Numeric", False, False, False),
    Record("Po", "MidLetter", "SContinue", False, False, False),
    Record("Lu", "ALetter", "Upper", False, True, False),
    Record("Sk", "Other", "Other", False, False, False),
    Record("Pc", "ExtendNumLet", "Other", False, False, False),
    Record("Ll", "ALetter", "Lower", False, True, False),
    Record("Cc", "Newline", "Sep", True, False, False),
    Record("Zs", "Other", "Sp", True, False, False),
    Record("So", "Other", "Other", False, False, False),
    Record("So", "Other", "Other", False, False, True),
    Record("Lo", "ALetter", "Lower", False, True, False),
    Record("Pi", "Other", "Close", False, False, False),
    Record("Cf", "Format", "Format", False, False, False),
    Record("No", "Other", "Other", False, False, False),
    Record("Po", "MidLetter", "Other", False, False, False),
    Record("Sk", "ALetter", "Other", False, False, False),
    Record("Pf", "Other", "Close", False, False, False),
    Record("Lo", "ALetter", "OLetter", False, True, False),
    Record("Lt", "ALetter", "Upper", False, True, False),
    Record("Lm", "ALetter", "Lower", False, True, False),
    Record("Lm", "ALetter", "OLetter", False, True, False),
    Record("Mn", "Extend", "Extend", False, False, False),
    Record("Mn", "Extend", "Extend", False, True, False),
    Record("Cn", "Other", "Other", False, False, False),
    Record("Me", "Extend", "Extend", False, False, False),
    Record("Po", "ALetter", "Other", False, False, False),
    Record("Po", "Other", "SContinue", False, False, False),
    Record("Po", "MidNum", "STerm", False, False, False),
    Record("Pd", "ALetter", "Other", False, False, False),
    Record("Pd", "Other", "Other", False, False, False),
    Record("Lo", "Hebrew_Letter", "OLetter", False, True, False),
    Record("Po", "ALetter", "OLetter", False, False, False),
    Record("Cf", "Numeric", "Numeric", False, False, False),
    Record("Po", "Numeric", "Numeric", False, False, False),
    Record("Po", "MidNum", "Numeric", False, False, False),
    Record("Cf", "ALetter", "Format", False, False, False),
    Record("Mc", "Extend", "Extend", False, True, False),
    Record("Lo", "Other", "OLetter", False, True, False),
    Record("Lm", "Other", "OLetter", False, True, False),
    Record("Mc", "Extend", "Extend", False, False, False),
    Record("Ll", "ALetter", "OLetter", False, True, False),
    Record("Nl", "ALetter", "OLetter", False, True, False),
    Record("No", "Numeric", "Numeric", False, False, False),
    Record("Lu", "ALetter", "OLetter", False, True, False),
    Record("Cf", "Other", "Format", False, False, False),
    Record("Cf", "Extend", "Extend", False, False, False),
    Record("Cf", "ZWJ", "Extend", False, False, False),
    Record("Pi", "MidNumLet", "Close", False, False, False),
    Record("Pf", "MidNumLet", "Close", False, False, False),
    Record("Zl", "Newline", "Sep", True, False, False),
    Record("Zp", "Newline", "Sep", True, False, False),
    Record("Zs", "ExtendNumLet", "Sp", True, False, False),
    Record("Po", "Other", "STerm", False, False, True),
    Record("Sm", "MidNum", "Other", False, False, False),
    Record("Ll", "ALetter", "Lower", False, True, True),
    Record("Nl", "ALetter", "Upper", False, True, False),
    Record("Nl", "ALetter", "Lower", False, True, False),
    Record("Sm", "Other", "Other", False, False, True),
    Record("So", "ALetter", "Upper", False, True, False),
    Record("So", "ALetter", "Upper", False, True, True),
    Record("So", "ALetter", "Lower", False, True, False),
    Record("So", "Other", "Close", False, False, False),
    Record("Po", "Other", "Close", False, False, False),
    Record("Nl", "Other", "OLetter", False, True, False),
    Record("Pd", "Other", "Other", False, False, True),
    Record("Lm", "Katakana", "OLetter", False, True, False),
    Record("Po", "Other", "Other", False, False, True),
    Record("Sk", "Katakana", "Other", False, False, False),
    Record("Pd", "Katakana", "Other", False, False, False),
    Record("Lo", "Katakana", "OLetter", False, True, False),
    Record("So", "Katakana", "Other", False, False, False),
    Record("Co", "Other", "Other", False, False, False),
    Record("Po", "MidNumLet", "Other", False, False, False),
    Record("Lm", "Extend", "Extend", False, True, False),
    Record("Cn", "Other", "Other", False, False, True),
    Record("So", "Regional_Indicator", "Other", False, False, False),
    Record("Sk", "Extend", "Other", False, False, False),
)
# fmt: off
INDEX = struct.unpack("<17408H", unpacked(
    "c-rmUbC?}h7{~GNFSc#lwr$(C?QCq@wrwXH)oxSUZp!rR<aXnvO}0;x-S_!CGj|T>o_EeYbLXD{5sJ`+AuQntPXr<oiO57DD$$5e3}O<C*u)_&@r"
    "X|X5|W6-Bq1ruNKOh;l8V%%AuZ`hPX;oQiOggnE7{0S4sw!<+~grI`N&TJ3Q~x|6rm`^C{77VQi{^9&wrGmEafOq1u9aB$~To<SB0unqdGOHNiAw"
    "qhq~0GJ`HF{BO23$rZl5DEoezATGNKMw4*&8=tw6zJ6+t?m2PyW2R-RUZ~D-ee)MMm1APWDm>~>h7{eLCNc@~pjAjgD8OL}gFp)`2_VNQvac!nDE"
    "wKG`W_bBAnCZ?oi`mR!F7uer0v58!*J?3KSjsY%v%-yRC97D?8rHIo^=$BJYz$U{+jz{=Zqps>%bhl}CGdDF+t|(ycCw4z>|rna*v|nDa)`qm;V8"
    "#A&IwL(iqo9=7rmQ@b(VAZKce%&#Elt!!EG10#ATl0*}zym$Md|vi@e0kF7*np@*1!625<6~OJCt_-r-%|^J4NoAMha`@iCw9DWCB<U+^Vg@ipHB"
    "_V+E{@x81213&T;Kl2M$`IX=Joj>@KzqkgH{9VmZ3au~-t8fahfZii0q9Q4>qA04ODY{}PreZ0!;wY}-DZUaYp%N*vk|?Q?DY;T8rBZn<Q!9<qDx"
    "K0RgEA_UmzUY?vnZ>wDZ6qgr*bK`@+hzJDZeWzpn@u-!tSVuimI53>-tqMp^_@4(ki3-&9AGjW?7Z<)hVyCJ{9CoP^hR%de9uNtSWkZzpyKJ$*US"
    "fqkpngd&p7U9-X|Zt{SSTTB@x&xAa-pm#U}wYT&MELp4%kg^asw6E$_C-$=9jj<>m51k1T~Z!Oiz7m?O#b5m^E23Z^u(N66jV^ps{=X8)CH*{1db"
    "ygRb*VUKbP2JT)J-t*f^;REu)Ytpg{nTFrG*E*ySVJ^a!!%qYG*W&VrO_I5OTPieYMjQqmJ=Q@=82l5$(o|6nx^Tl?hMTgY%xo-Z)-irm!9kUoag"
    "(T?^~M}XrUI}<BW^7#FZ@dl`hkAt<cKAx~tp>R%?ycYMs_=gEnfDHalCiRok@P?E~!4PVLfe?QzF@-L}s+?)^HTgF2+cI-;XqO+Svg{c*4Sgid;W"
    "-P<YI6M!+s{1>O6n052aQ@Da(2r={I>|L(Txgh;F_Ncu-xv}%N|0bUEA?%sR7!y+1`u@M)M~yMY7-Nhv#u#IaF~%5Uj4{R-V~jDz7-Nhv#u#IaF~"
    "%5Uj4{R-V~jDz7-Nhv#u)RMUC>4E{jyO!m+W1$#u#Hv2yosQV~jB&%w<^&j4{TTkaz$88+VPk`2"
))
BLOCKS = unpacked(
    "c-rM%dxPUP5kDwr6tdnunrx`u-Q1oVThm)eS-{z_K+CJVTIf;A0$uq2Ujw~gwk*kZ?w|gWO=4TtNTZQF8qH{*JrnrWx8Hf^JI^|Jo_!ZB5c=No4C"
    "Ut+FVOcD-aXIrJVPrlmgsDKx!!oO%+GR8<Ok2Zcn>WI3bZcYzsj%6b&+qk>kWE&vwi>7cDwbF&&9Wob}oOcM!v!)0xxlw_(9(^kJU;aY*s4SN>bp"
    "L*pE#`(^Lej4>sZ*E|W;MT5ZO^1m}1uR-(|>wP~m-|FxY&&9U3v5Yz^47}g9oH!LkbbyMGniw2rGfQPS|pggMAs|~=8)aHBz1nc$cCE+2E7w4u0P"
    "`@Hr$7N_hu6d$dv|Tz<+cGRo1!K~OAC8p9X}vJ{1#xVGUH$s?>)Y2aqZ#$XAMJKUv4D`MS=eKQ#Tx^|M}El5KYj@scMN1CM`&?=UKB>==sL@?Du7"
    "!5v`Qums-G9=CqG3bQFVG`vM6^2XINchOvQ{4*X1Dzi=rY`L>ln3Pyw+6qiFz6RwIL81s1IO3_}&Pt_yUY)d0<6;iE@VDU!AL!=#FWQ5m9a%Q6_E"
    "MpB#CS$TcQ*W&x`jwMrkjb>5Z-$$C}&T1*#MLV)h+NNsTR^>v_v~4Abn7qs~qZibjY+BG9;(vVr^)0wanorUPAeoTAMhQpDc@2!dEhUS^mZ4Zwh%"
    "^x?Iq3F@p)cRi0He>^3)8=b{t_inWwoW0aRwtTz?!}w5=GyxKW4d*`U5!K1Kj$fg}lH;0@C?!(#JOcS<X}dy!<aJ&V7RcmFB;sBW?!yi(j#e#+td"
    "M#i!r2`bPa*-zY&Fo?%gN>Xd~M?C+kZ^%rsvya{ll+EnD!<-bUQwn7N0{G&wr7XLYYR)0mmZKViy=~tD-8(M)F@#`JoRR5FwuL?o874_@1|8}ct&"
    "Pkf`XEkmWWCUnorDDfx-m<oUR={n4ngp2)I3xm-HwV3Y!B5^xJ=mBZA_Orw9N@qU;VlZ7mlS<6${s}V;T{BitETKy07M5Ukc|S7b4|m$Nl(jdi-x"
    "|IXUntW(c3+Gn~n*b_3U9aLE<@QTmT#aC<H`dLDZ#Sm5OA4G`Otu0k>(Jh8`a@f4Cy0ld{GlUqlG$2?l-&+X6)s^UEZ$&W|1!MWnjT=27(X=kY*0"
    "@?m!?FrKp3aYWljrjMgDUX@HO_mH%bE`^w)M>M@{4|+zaLV?TI>LdW*lO}+D^%hZdr$f*Esh4Lk>y&^r!^6XarA_zcPdew(P=9)^ABo-$1NYndlO"
    "tPTUq6fh89EH5nRR^f?9?D5$vvs;;?Q(82TS;<B7ts+fbQuhx%0Yl)5pvlM)nS!KaQBy;wrX0@x;UVfnYNGR2n0jt29hupxxA*pA5I0eBO?0|Kaq"
    "mrt%9~x*)t0W>Qfq9b@G4Ak=#Lgl$@E&++Jyp7D3&%{>-6#eK#M4d9q}KC}!7wmHEA=lMNm0xP<okObUnCB~ElT3+&}S*?no&X76<sdJ@)d>$L@+"
    "Fz1N%!*3#I;zo)GB)OJHOi=FWHSY(uvqO?#g~uUnzPI>bh0x2G9E0kvOEdUN3PZ0N5c>ztRdu!oaKW+iY<0G4R&5LkqeqQ`(PwKjg>dvdaY7g_Hn"
    "8A==O2#=b`kl;xFI*@;>?N1A(Yx;Q4*9-mKSa^Ozm6Tv=(vv7%3o8AY8Qo^!lM{(klGC)d~e{r=)&kI=7wv%I=`wY;LT{Q{wvzx~}c#qZTD>*^Ky"
    "G((q{<mVrjXIb{CypW?yJr{e<?t*KD?M~_dd7dxNc3K}`$F(b8ix?Q=sXaUs(2s%fm&{P;NJu`^3f_hu@dZeFsU(N&MUVMn8STV>BzKUboPxD#k&"
    "`opt78Aj!Ji!vjc~Og9}iouantPnQc~nOrJl=oS@NSn<ScDC)qIe7(%H04g%!AvDN6V949G`TbKst`n}Mp1f;dbpZU6i|lwdmn{<3^#;B)ifv%h+"
    "gN@H%A3@`KUuSD4)-Haet4Jw<z<djNvD34034Dzm0h)n6ohf!#jMcEbE(ymis37Q~WC^ChVyDm#qc?*4?k9{)t(ypYY%4$^V-cWWrMkjxrlj<7u$"
    "KM!4dOAMnS3qu^Ch>Mq+Wa|tZUjatO?i$nkBCiw=H_c6jhHNGio!n_^`7($h-#=SdzjoE$@K3C|ACcW)?Z0S7@=Us`LS#`Df*LXjBH?}^RX>Lahf"
    "ymdp6_e?_xNv9jj~;n&5X=pVGcVs`M9MT)nz_^#%PRZ>4wb>6;!C9Zm=&GXvIIHQVnqmT+ks&kHhXl(+0Do0%ERivcM)*^?klKfb)rZ^;z7KD^N#"
    "SC3Wu<=I*BMuJV|j(`7>qM)bi>K}yC;Uu7n>{nmi-yi<@crqYTk;hb{Rv<0mudNjXO|oe%UbvMA-59H>s8osijVER49YX{8|0@lt>Eknw#8g3_(W"
    "1*n-Kj%Lw7UuevKAD`VP}ECv`6)gM`?DAiq2+{Hlv_=DD`fKXL8qiP#`p!=a4M_dM!OQEg0UMuDxZNWoKuZcJz5cs2ZRloO6404&{^Uo)?RfCa6("
    "@(An)aYGFVa_ORD{iE+yeuxdW1+&5s{LXutpYDaiKwGJA!B4pZ+d+aHOM;A5SQg^^Od#kkip)Bkm*B%XSqfmbzWj<Fn?Y2Eihd8!O3bkE-vHpPX)"
    "p+Hsw8XccGF@Zob0ym!YgaOR{ecuJbH__j5<2p>xJ@5#F<a9=h&6oN9GZjQwcy^e&$FVF5w5P=#$CYbetY!a1atR|WwhR{*QR}SE<|+~%--3tXFW"
    "4*wa=S=)KCC3;NKIGs@A5hHin@L>CP$cOpUeobZ+}ni%<ASyd_TWgs^rIxg>fDoGs@jJ~oH&%&psh7UrU+!0m1J?k%0PqW<R>y12N!bZs>V@#*p9"
    "<>mS93pjr_%P!QUIlsvB9B2@gqCb~c2*5Rv=MKsGKPQUMTAmSB+#)?+`Z8&X`1RM}A;|Xt;8z!md|fOSP;mQ_ZpiEFYkC+tw}k$49k(k;9U-SWaf"
    "qegB)hyhO?eoD-iawY1@5e-NPHe7&6+|X6Ei&2nqfW$^S6Apd#5()M}j;k|Jjf^1jSZa>GrIF<J)WQxUYGiFI{~p&O0zp&r9jQQ~J9(AL$M3vyaI"
    ")Shi=^7OlRgmj|YdUH<#K`TOK=M?*Mw5buTJBvs>fQcXlmg<qYP@d;b6x-op+t+wN}7!PmZMV|gqi_t=%$IsN+!IXy|Eq!-PPFtg{xUanOg^LU0V"
    "0xYXcmUI1kId#{>bKpZ(8D8^f5mX5iE3}hT?|HZUu5LFJ|O>=KzrrJDy6=`D?cOWpQD_|yYs&kSQUzW+IJ(d`r<e1%3EaS^tP`Div(n%F*8D{XoA"
    "dPya(tuG`H8odd)4;!xKpsTt{D6c*_QrH_=SP{l%Ez(bUvgH;WzbxW~FLebjh4@N5VT&h5zXRmY)HL_zynTuW)gyxp~WooYU9rSX)8mfTUk8Q}zX"
    "1LK*e|KPYK3LR`krN)d0r7`Ypo1)*5f>&nz;0W`%VXUTSDEFBdwWd8BRn$)Jo49z(3jxC9<Je$AlDrA;@U-#4iDUAYB^&j;!irhK^RnCiqvLm3{3"
    "efI74f@ACw^9NO<94YJ*b!ekf4Qv76M9&1&^`-=3`SeL>$0$2%lg7vV7rb7jC2!+VPvH2|k!dlWt{P3LV3Bhw4NM&#QkL0rP^mSh+!&jcz2=%=Kp"
    "-v1J{x>W$R4;zt~<Zxns3Ls^KJp^!cj*AjyUctx?rGCJIhrzLDIl8p5e`EL!pq~+((FGI>=PyBFS@vX@y3=HBTs+$f<tQp&?Z8E)_p4@+8`5Vn?)"
    "x*S=7^H8vL-`v!o5ZfaHazHw?NK9EUK=MrR)`525g!<;Zm*lswB_{g3Qhsm^;+DH?mx)4lY~2ei<1sJyuEGsQ^&JYMUUPSiueML$0M{l;@(+54|T"
    "adF<~2>h)pkuYEt20{={T2cCx@MM6;<v{0=%8aS`k2OV#A@l`rEf{kLjU9Q>q13+ExzMXeo}jG4ws`a=~nzm;=Pw)NnkZzy_r%V110j$PBq$ZY51"
    "@2N3yJid0&bPNEtf`4jPiuh*|k33Es51jrV-p?)dDVA0qF@MU&x1Zi3fNyicqHv4e=hL8x%4=Lt1R)>q@`<|saZ~k6k6jLBqMrn}&={~LCdw~=yt"
    "LzBgtMEQdDc_MBf|9Be3G>7{r#IaZ{p@Jb8Me8-~KzjIfe*M&3|st=m++}zv1z4T0A~J9+)eN=18bL03Pjg=Kb>qX{3ctboXQFuAi6}iw0*be0nZ"
    "_4QoFv;U6;ES$-hwM=xjO!|`VTX&d!=(~ssyjL+Ge{C6qFdfGHo0;Y~fzU#-4L8(q^I}mqY5Kj^MQ_$18J|us$%*Sxi=3n1RxgKhuLFc2v=l?)VW"
    "au6kaZeu|>WM<*7uc8Su_9t3d&rHe56>Mso-pBi^!9Ht_nd&&-++7Ab|gOJo4_9X-<Uf${nqngjNEa)=y6?+yUW-v(l|s}cX@$77>Bo?g24duc>j"
    "CqIXEi*Vr7JLiO{XVedyiTE_cQ^VhUu(b|u2Q-KR2Sg1kDGgy}pNG#8)L-lP5L)$Gom4_C!$?N805^3#Gl^Y=wUes$0NspW4fC%`Q1=t$$ku(Bud"
    "FGa16<R|zX<{fvjt!J2+;J+0f1H^yesJr&=$W3r(bch<<mxTN+Vie559Bd^rWO9eDV}jh8y)rD~{Mbsb&dH@oR~D4lhtKeDY{Kooo(T7$60zNg!V"
    "^JkI*HCD_k^=&%2Sa>A$2pP&%B7c{<*bXlX;}J3F_H~sFyVf_^%g)-cvunOV9pVx_nl8alez@)1+cYpbWy^+v#n9@8fhL%3^;eg8xxW%xrRDI@?|"
    "ir!<+;BUf_&qO!9QQrWXBQrWk8Qt9mRRa#pjnLA>IYBT`0FP2$tGehyqluf>)2<;k{Pz1(9SH7S4{gcPnp@GFcGyeYmRNeC0{aMXjBKv=L=e04yU"
    "(C@1BKYBqSGs+l%HFZemt2X%(_7uR$+kbU=l`_PJ8aLNxBvvREE0@f&q-RqntgpEs%+Q8<@@-=NHw9%yZ-^e{{fHSe69"
)
SCRIPTS = (
    "COMMON LATIN BOPOMOFO INHERITED GREEK UNKNOWN COPTIC CYRILLIC ARMENIAN HEBREW ARABIC SYRIAC THAANA NKO SAMARITAN "
    "MANDAIC DEVANAGARI BENGALI GURMUKHI GUJARATI ORIYA TAMIL TELUGU KANNADA MALAYALAM SINHALA THAI LAO TIBETAN "
    "MYANMAR GEORGIAN HANGUL ETHIOPIC CHEROKEE CANADIANABORIGINAL OGHAM RUNIC TAGALOG HANUNOO BUHID TAGBANWA KHMER "
    "MONGOLIAN LIMBU TAILE NEWTAILUE BUGINESE TAITHAM BALINESE SUNDANESE BATAK LEPCHA OLCHIKI BRAILLE GLAGOLITIC "
    "TIFINAGH HAN HIRAGANA KATAKANA YI LISU VAI BAMUM SYLOTINAGRI PHAGSPA SAURASHTRA KAYAHLI REJANG JAVANESE CHAM "
    "TAIVIET MEETEIMAYEK LINEARB LYCIAN CARIAN OLDITALIC GOTHIC OLDPERMIC UGARITIC OLDPERSIAN DESERET SHAVIAN OSMANYA "
    "OSAGE ELBASAN CAUCASIANALBANIAN VITHKUQI TODHRI LINEARA CYPRIOT IMPERIALARAMAIC PALMYRENE NABATAEAN HATRAN "
    "PHOENICIAN LYDIAN SIDETIC MEROITICHIEROGLYPHS MEROITICCURSIVE KHAROSHTHI OLDSOUTHARABIAN OLDNORTHARABIAN "
    "MANICHAEAN AVESTAN INSCRIPTIONALPARTHIAN INSCRIPTIONALPAHLAVI PSALTERPAHLAVI OLDTURKIC OLDHUNGARIAN "
    "HANIFIROHINGYA GARAY YEZIDI OLDSOGDIAN SOGDIAN OLDUYGHUR CHORASMIAN ELYMAIC BRAHMI KAITHI SORASOMPENG CHAKMA "
    "MAHAJANI SHARADA KHOJKI MULTANI KHUDAWADI GRANTHA TULUTIGALARI NEWA TIRHUTA SIDDHAM MODI TAKRI AHOM DOGRA "
    "WARANGCITI DIVESAKURU NANDINAGARI ZANABAZARSQUARE SOYOMBO PAUCINHAU SUNUWAR BHAIKSUKI MARCHEN MASARAMGONDI "
    "GUNJALAGONDI TOLONGSIKI MAKASAR KAWI CUNEIFORM PROTOCUNEIFORM CYPROMINOAN EGYPTIANHIEROGLYPHS "
    "ANATOLIANHIEROGLYPHS GURUNGKHEMA MRO TANGSA BASSAVAH PAHAWHHMONG KIRATRAI MEDEFAIDRIN BERIAERFE MIAO TANGUT "
    "NUSHU KHITANSMALLSCRIPT JURCHEN DUPLOYAN SIGNWRITING NYIAKENGPUACHUEHMONG TOTO WANCHO NAGMUNDARI OLONAL TAIYO "
    "MENDEKIKAKUI ADLAM SEAL "
).split()
SCRIPT_INDEX = struct.unpack("<17408H", unpacked(
    "c-rmUW0V|A9ES1djcwbuZQHhO+qQMBTwA%eZQHg{natfy?go2ul9Ocf*6&PLS9Mj*{HuFvrsu<eNJL_i93&~pNKOh;l8V$pn(#<VI?|JYjASA+S;"
    "$H@vXg_H<RUkD$V)!*Q-FdLqA*1$N->I4f|8V?G-W7DIm%Okid3R9Rj5ies#AlSK`m-iC#o*>s80hL(ul@1q3K~Xqd6^TNh?~@hPJe$Jss#sCpy!"
    "Gu5_b2J?Kd<deeu#^rJrm7|5Uy)qgP#W(Y$W#&AY3l2MFi3}cC##xb6wr3q1S)5OSj5|f$2RHiYV8O#hdvzW~s=0?n8J_}gLA{K|(m#~y&EDvo~u"
    "##1g{&N$QgcgsT=~l<X8rHHdYJFG>H?WaSVGY^L7PhjD?d)JDyV%Vh&f#3n<9sgQLN4Osn03ugyi2&0%Pb=HiryO@mvaSIhR^9(S4Fm0a}C#q{5r"
    "1Z25#ggZsrzl<u-0-A9rwPWURZmn|rvI`?#M6c#wy9m`8Y&$9SA4qMqa_o(^rF;aQ&Jd0yZ}UgBk5;Z<Jab>84j-U`Rx<{jSUJ>KU7K8%e15g+pj"
    "pYj=>^95h>6<_lW-|`*b^8-Kf6F>6{zw#Tu^9O(O7k~3lq$iRRDY23$sgfzV_SdBd+muSB)JmhYN~iS7pp43-%*qmuWK}k0SB|ikQ@NB|d30d5@+"
    "zP5tAGls&`}f)tz%0?R8+-+;wqsNbIwYtlu92{nRv80S<0$h9Oab|-#-<OGpdR@R3%kb6;)L=RacEe#;h4F)lzNMQC-zjeKk<S1gg;?8mmc&zM-0"
    "`*-<oC3!Po7c1yKV>xedLt9CKkpRjr8ppNQv3TO2|>a2tBjJl|+x~Y4p>k+N*sb1=>KB2UazUrs`VQ+vA^dG1}8mu828Z*YQn7!c|aTp^*&r!#Sd"
    "H+4&XpPZWjnnwhc7i6x^q8c{|LZ*^TAmusr$zJWnh`Nmvo!k%&p1bO!;yK>qw}>u3$-Yw?cxy25-p8Hv`ovjLMs(JZ%0b2qBF2sYqVDDwEm#^-4O"
    "OSM#`JCS@HkgU}k2=wneAQE7__uZ}#?{HP^|u!<?P%Iyv|K$2a=vJ9j(eb!NYv@~>NFmJscdom{@g%*@Qp%*@Qp%*@Qp%*@Qp%*@Qp%*@Qp%*@Qp"
    "%*@Qp%*@Qp%*@PAwcR3;Cy&_Ue+x7-Gcz+YGcz+YGfM#e1uPuq;s"
))
SCRIPT_BLOCKS = unpacked(
    "c-qaJhl3wQ7035-_a$&hNiIPmkO)XIXaEt-(WFRIK}0D*=_06Dz(P-uA|NOo3r&!K6bt_$J7uSrH)St;ep_bVy!WPT`E8lmVQ6F_3N4+UQ7|6!y^"
    "toCK0hVR%R}qdh0+(-n5B_noB<KS$hhL7B`$Lb3JciJ!cAS@gT=-5YX$ZvK~xJE9#9K783j|7v&<Nl&DF%<i+l_PV=s&AFD|bkLtf=T3mn)0n009"
    "pKT`}W4yuP6A6x|B3JysC90IF-ru{7mQLWQXaA<GX?(c|(A+Ek*1RErPm_tCVAyf=SZ8z-}JTMu>T=Jxi8#l6<t-xZCF&F5yoFHX}9Sg}42wfv$d"
    "sD2etgu;N$1I@NA_%N_cB9NbJm6}stQZL_wrSHQHgf<mhk#x~DZ6&uvlJnuX_!oG-aJkW9u^TP#uO4MkcvtjzTIZ&)NX~%A$ZDRCXjOoPj1*MJDH"
    "u50FI{CkbKqzat;AE2>5o=y9{WllZC<ICXjO}hMnh=%MzwrwrpXu!{}v81Q;Qu#q^<!pp`@|O~*<o_*^y2ddMkcIpPS6KZaNaKr{((6yT=ivOlsD"
    "Bu51qqDE<ovl|PMTb83{W-AG7<%JoSTj>mJv8|EM_X2zY6|>`|_O1D#Q$3nm1bGc46Gx7og~=~)Oe4pp7|Z{KevAjT5tGO7aY5AKecbUOhCwNu5W"
    "qY?oM-|uo9SPi71O_)pNMbYJ`CH3?E$9rnLx3Bu76Aybo-x_#!7efdEAkGDG4A~iZ2(C*7yAJSZ)v5kpS4S<K#AwPK6a=#N$HN`~c7S|30NB72Zy"
    "5<SP|Sb!XwzDjCg#lCKtGJ{shgFm$-`)DBaf#w~0=6P{xHVX=H>%%2;Jb2#l`wRqH8{EVBMSpmiRK2Omj&x`?kox|6M{L$<RK{~EV6U$L2z<w7n%"
    "!8TB0+4tqGgQ6iFwRG%=Pz0XmUzh`MNU;`D0!blFHhA*2$ECCc|E<6x|-<l*JdWS+4kE9@C_rwrT4dAuSD(+Dlo;9H%~C`6D!xb_hFPhCH4GaXOu"
    ")zBeeW`<v=)|caFap$|pN{Zrf&xdE2he0y~ip!x$LOn2mw?=8dwB4$_Zvy!OrcD?E35&9SYpJf&p(d-|o@V7`q@<IJ9n8>rq=a8@B_uOXrHN$&i7"
    "&P>p+-^iC=Gj!77cSv@FIU3(6!K$xtcWxz9an9>P$eWPlURR%A#Blxv1dP_cAboZOzS$KFMwolgyq>^?b*KuuVmF+7KXOq!u}ck}cySmw7l{5ka{"
    "XA+Lr&l2izA#JkG-GdUt9#>HUZ@wk=dvTmEw0#=s@XpX^(5z!0FT!iGFP9&S;QJ93ZEO<uzp(g1wItc>UQN-2VqVHFv+{J*}~1D*s;HqsG58tV#d"
    "i+6&I?^{+bYf@}SM4euF?j9y}3MQjk3xnjVL=eT6wF*QT+V=q&GsV{IdS}Hsr7FA>sxHQG+?^~rf<yp+!Reqa*ayEv)6Njr@Mu+QPo&=YFmjLtQO"
    "K4otneP>HWfH&)GrmutMDGVgruMq30;9RFx>|#)ZJ^g6ssYzjU~d0w_YIl+{qm)+e+n*(9o1bNU>9~30A>Pac3lvt&<`{GD9uz&PeA2*pHZfhZb&"
    "fd+;C$Q?&HRrqR`5BbB0?YFx#;FmLhH)!8kE)l|asMxUOj;Js1KR|8a)fGUVFtCp27DWq*4W+VGAbz!dta56^ds{LDiZ%m}KuBVzo#7nS#acb3!1"
    "UPOLDWXjK#{E|dYaq_N1y~y1`{fZ1z1=t+Qfp|;jsr{PBl-pfo!tHT)6k2=!CP7I5w_#NJ@47<usI&ilJG!!C@SYe_#TDFJL%?b(!hJMUk?)_G;4"
    "lbd|9HS7AWG79et1xT2O(BAW?bk$RF7jX{Oum$3m$-&LqM-Z5R1D#yKy1iD(AZmmy^h-{~iVQj4>mgB4}m__vj3g?f>wM2<PeT|A$Wa{%HH(BUMo"
    "C^7%j7gP^}a|LQ>gk5%K^$H&8@>i>8gFEOECeg64l0~G&H^v81lqyS*k6yZ|}JZY#4dr3gl#8VO-qG9PL{Qs#FlfS3?W0lt(iSSG<@ZL{j4%Br-g"
    "g<AA>5KSZCUl5`qpkg?t$=4U#5CZlNuCpcPjr~2W#jl$lIJ<#69KIV(_RZ+D8Sa21LHT8?LRNZkm)bE_>veQYbU)wXMr#>Jc(`o@@&xR<7&=Tnpf"
    "6<*&B<%U+2fl?{Bj(w|||<-}_L#z5Y>+us>&CA<O@28Y5k3zt$HRLC)(*rgYu@Z*(E#56(JZk@Q64&1!`GKj(w{e=9~ZiO$>oXmS@TPV4#nU+?VP"
    "x!3P6rqdhQJ0Fzl?adZ2*FNP~_V0EFt^P45tXCFf?<}xs_0!E*%vDj?iPdEN_}G^-{5nsfcRoe1^1Qcpz{}5!%l0u7*)li&t93|a{YcD2?@MywO2"
    "_j@^_$wG<#=u#%S!EO*EqC!G2lRVx%K+q#=f)~7+EYwWe4g*EOXoWH0QA<-5Ri#DK@zWa^<*l*2NfVAgG;)ZrQ;emP~SNln8_0Q+U1+_@r^wRQ}x"
    "&XV(<6v<_MijfI8mcmg`qZ%!ByIm{g1z;i$+K}rbY?J{2v&au9<%I}xp>6>xkt@ZlwgEXH0ht&vk*WX8E!sY)D9j^Z0G>C{LIuyhDDx3dZH~g;$f"
    "G;8P|Bl%HM6CM_Oz%&5G&;)l{Q{dtH8_31z{R}(m{=?e9j&iqJZ@wI%SpUznfeklQt8G0>FPHJRX^e17gSyPRB!(7JMF6Dv${Q%eJJOek_FOS{Y-"
    "gX|0vY2*)YVrM1p<3P2%lM-&4xU6K#Klw?%Su#qyu=8%ll^TSu|x%zJ+drq_350{&+Fo=v=LA2))b?eDtr^NIKbD2#=|"
)
