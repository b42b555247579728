"""The class of every code point in Unicode 18.0.0. Written by _unicode_generate.py.

STAGE2[STAGE1[point >> 7] << 7 | point & 127] is one of the numbers below: the general categories
that split patterns name (M and N whole), White_Space, and the rest.
"""

import base64
import zlib

VERSION = "18.0.0"

OTHER = 0
LU = 1
LL = 2
LT = 3
LM = 4
LO = 5
MARK = 6
NUMBER = 7
SPACE = 8

STAGE1 = zlib.decompress(
    base64.b85decode(
        "c-muNWMXDvWn<^y<l^Sx<>MC+6cQE@6%&_`l#-T_m6KOcR8mq_QB_k{Qc}{;)Y8_`)zddHG%_|ZH8Z!cw6eCbwX=5s0!Jqh>FnYF"
        "1+H%H9-ctj%iG7-&)>m8iF6R4Gz35(j1i=y6dV#779J596&({BM<eUv9ViA$N(qTc$x2EoscGpMnOWI6xej^x1%*Y$B}z)AW#tu>"
        "Rn;}Mb@dI6P0cN>ZS5VMUEMvsef<+0CQh0>#bN5S=`&`|nmuRky!i_p7A{&0b=Q)mO3RinUx8uSN|?h};rCZIh*(XQf7YP+PDyF)"
        "y7e0z95y;^+Pq~e*&)4c`wl2;Ck27MOG#<BlF}YbiM{&>=-dw?4gm4NLx+zXbvSnX#K}{q&zuE`o;wdybm8Kq%U2v6t^%3Y9IiXu"
        "aJZ>->o!>C&fR+s_aA^*4{@3f3$IZ?CGd!_lE<W&_k?VhJOvTYu;zXxrRQjT!r%qPLG#jK6p&Y1(*^{L2JI*q1*2dTjDk@x3P!;w"
        "7zLwX6pVsVFbYP&C>RAJ0K9rV8U~|a6pVsVF!BHZ6ZkNk"
    )
)
STAGE2 = zlib.decompress(
    base64.b85decode(
        "c-rk9iDKI-OwNGp|G)UfoZ^%O*m2iKx;3`J0wHum0ety;7N|;j>m7@~adeA&{_2)KkS2T`djMzCw?6yQ10U{pVTUir<cGdNe0(ea"
        "<@`C{aUAL5b;N2%fZ!h4FE4%8(VuesdHEl@Prll5yyib1bFLSM?{xNTt!UkUrmAw%M0uSGzNJ7_^kr@?Cyo>x9|~3{8Tv(H>DB)K"
        ">XP!oL9U~r0bRRF;O9<Wq;pAA6Clh?eAZT>_yasNK_EIdqQEy1Q4@SV{>OMO*)QQSj0%1^@jhEr`r7PaE-yZn^z{XF9D)0-lta-6"
        "c<PVEM1>5hgQLlS%SMEt=$<_0zr^#*4|aN8wzX3IcvaKO2wL%cSRZgDM22h>ss0+F%JiHxs6kinJn?{5fok9>VaWX(B1p$&Y%rZ$"
        "oJHdBxQ7b<*)FU{4Xzbn{y@VIKj2a8<_kOzGKesc&K8QrjL8`eWI$N(^YJ_W=ayhap9TKYLQgGa_^;vP@k2sN3;&>teth1N@E_p#"
        "#t^=_CwbQ}s6gg%{HDhxGSJ}-4D{Fc@%R&b|5E>^KK>&*GW_%40|P!pY?k=Xs1LHWI)dL~02Tbm<4j`8Iegp^3o@gBJh_@g1SDb&"
        "Q;yUEB*ZiP7hGJ-_O!0`gUEcLLuUQr>3oEFz>f?PWMTXtS=NG2Dm&0n0CEy)&D<L-f?cid^5|(`9T8QEd6pgs8M~h<b4o~>fpWf6"
        "RU{)dl8TkU&7~)n6z2e$>h|HyC=i$?)&kT2N`WB2@RAYCFSkAq4s0675=H<ok>)}MXf07(j!R0QQ@GG(cp{C~qy0PPmar8%ATz1U"
        "|1!qfH*5y&yZjZLz+Vx+gbf<Rf^sTut$7XPvz0n+e$I6P$YvwHpJRfVo%F!QKa}FODSp{jc+gko=6_tjVsk6<AK5TV1PTP98YX?J"
        "ZT{MpziV~<<s4?PzUnTJ&<j8Ue^0l^QvNeSV<}9z{R_T&<S3TPTU)uw#ClF1gG~r6^UpS852BL4YZJH~@rdVrR-<zhkh1tjpu<ET"
        "W&DGx4~P5o+J|=G+aF(8*Wljw#|A?2wR<1<YfRrMBAeI$o61m5_{V>R=4Dm?t&;!o<m&~$Y)1DaMauudnU3eog$S&R%ApXppUU&v"
        "1v^hB;<4;1gmCt&X=V`RcuD*v{})ktFO)la@<goM*^?XM&qoRiA0d&#3)r<h2)2yzL;ZZU5;si)SN{Ol<~48slzMawJ`e^{9sQ8~"
        "7PI4VQM>8S3Mi%D^iuKt^-}3`L+Q;9io$nwN<)32f9M>F*r>kPU*!?bw@+66-F!~Ts|P|}D(1SIdG$U|%0~D~f2VBVC+u_u&quO*"
        "jrMuuz9BzFl1LXm8Bn9zr**jpu{f&3<MT=XFYUE8S*$YC65V%z^Z<rW&TQxmF(<RUAMJ~LWFI(6y;49^WA8-Y7iS=|ou=1sZZGZd"
        "Klk}rFWbh3UNw&QaUhQUm16%^8UJ5(rq%YW_iwA_dKP9IG@)X;X=Pe;SgTKfnV9<!&y6V%y3Y!8{uXA?X5$qTRR8YipQ89KcDkJl"
        "ToxZ@<|?yi4mk5et=Fm0z|Kay1At!^=G9&Vf2&Fcg@zgoDI4xV<N9h}zC|H3`dLdpQU1g&`r%W8{v3N`$NnCeRqd6cN6-@>JfdLQ"
        "w$Q!@1ogs`7VBvCr~RV)oU32(g&JBvTwPO!Kmo^c8WKy?o8JO@;_mO@>nHKM&?~Xq@4I`6lmyEQO!M?i$@<@A?=?4;<=3a4+}bKx"
        "T*Gww+6Mkdw6EVkb~FG#iVth?$u|E7km&?|Pr$$&Agt<Gfr;m7e`B}v{+%O#5hveiRU=#xo@eiCo-PxEIv9q?7eQ}Bh^eiHnixX3"
        "P|x37{J~h<#QENXe<0WYfc`UrX4B0@vC(h)uBVchYx`MJGK6xqm7aZ)`_q)}cG>&8NmJ!_<v$4M&vB`m(40|+_q~l4rfBaan%wbg"
        "iw(!3^(M3GNBtD6Z+`wK&j-(*ap${jZ+{cQZSFmy_){Z3FyZ|!Y$!A$&b#oguL=Cu1RO94c)z>f{Yu!rk_dY};ilNlI4ys|KAwJG"
        "=Hyk?<yL%Xa{sMq?Z3_TzeeRF^`KlW7yw@j2aS(l@Y^kYE_o3UA(+dK#gC}4z^@?{gLTj+aL}{)40GT+$@Im0IedM2{KX#93&)@1"
        "oYaSSJ)w+@ashYzSGVZDn_cl+^kYidC8h&$zRZ?_F%AO1Gd3Q(luyL9?_hF;Y8Z+rEkA|>pR`eJfY#IJdJqfya(hi*Lcdop7U?*<"
        "@ox}K5_FEk0XpVDb(eLD%x?VggUCsffz&H)#`xvDJ~Eb}eBp=gv~KEq8g4CwJHaZEO!d2FaZu9&vb3%l4~O2jtl#JF&zKH7zUOvP"
        "ZV#kBr#!}Ab$8Cgs@OJ!YWk>TCo#UM^ZdRz-@Nwo@{8FE+51QS2cde6;+Gx$YUtwa2IqcQQHq^WWD&KSelM^Ov(Ax6$Sg)PHuE5("
        "*N$ay$5U>Mub%<?{J24-sFa!;dGdvv{UP#}7!ft#J7wWb{3@o9oWwbi@j}gKRb|0{e>oxCO?Tb=zB(R2`tE;rJh+|TOmXQw+juA3"
        "Sj$eZIM~`X#u~(JE@%1R+E;dD*CLjVH+<XJq%7VU&5djW6Kz^>?2e_wZCuJSHvO3Z4RCYgfq0%$o(W2~Nyl$;+FXF^U(m)LC)BkA"
        "Uc}!x`86$HGv2oab7lVQxq|1Kk<_|a(4x%wsr`=!+D`4aP7nVMNV&JVRM(dh@+J;t>z-4Xv;u?9xrenQ;Amm~Xn$)W`Z%5<8{p#p"
        "nC1L|tF@4k|LM!{Ee7=F4$vDF>~V_;em0F--9+EeiGso=%d(Uw+x&-|oljv+UXlOtq<|j;ulCpa1KTYbiU^@jObmZoMI(QZyUyyz"
        "dm*)`Tnoh?R)DU<1V+zyqW>R^H*VmckMh{*pH{x=?_Q<9A4UI<^DlF7YkpZN=l?%hNNoo"
    )
)
