# SPDX-License-Identifier: MIT
# What else there is, as multiples of the floor.
load 'bench/plots/style'
set title 'One access, as a multiple of the floor of the fault path' offset 0,0.2
bars = '< scripts/bench-data "'.json.'" bars peers/'
set terminal svg size 860,470 dynamic font 'sans-serif,14' linewidth 1.4 name 'plot'
set xlabel "times the floor: a SIGSEGV, stepped over\n{/*0.8 ".about.'}'
set logscale x
set xrange [0.00005:400]
set xtics ('0.0001' 0.0001, '0.001' 0.001, '0.01' 0.01, '0.1' 0.1, 'floor' 1, '10' 10, '100' 100)
set yrange [*:*] reverse
set offsets 0, 0, 0.7, 0.7
unset key
unset grid
set border 0
set ytics font ',12' scale 0 noenhanced
set lmargin 47
set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb grey lw 1.2 dt 2
ours(what) = strstrt(what, 'libregmap') > 0
x0 = 0.00005
plot bars using (x0):1:(x0):10:($1-0.36):($1+0.36):(ours(strcol(2)) ? 0x0a84c6 : 0xe69f00):ytic(2) \
          with boxxyerror fs solid 0.8 noborder lc rgb variable, \
     bars using 10:1:(sprintf('  %.2g', $10)) with labels left font ',12' tc rgb grey noenhanced
