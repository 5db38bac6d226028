# SPDX-License-Identifier: MIT
# How fast copies are, by size.
load 'bench/plots/style'
set title 'Size of copies' offset 0,0.2
set xlabel "bytes per copy\n{/*0.8 ".about.'}'
set ylabel 'GB per second'
set logscale xy
set logscale x 2
set xrange [48:6000000]
set yrange [0.01:200]
set xtics ('64' 64, '1K' 1024, '16K' 16384, '256K' 262144, '4M' 4194304)
set format y '%g'
plot data('calls/read') using 1:($1/$6) with lines ls 1 title 'memcpy()', \
     '' using 1:($1/$3):($1/$4):($1/$2) with yerrorlines ls 4 title 'regmap\_read()', \
     data('calls/write') using 1:($1/$3):($1/$4):($1/$2) with yerrorlines ls 5 title 'regmap\_write()', \
     data('strings/read') using 1:($1/$3):($1/$4):($1/$2) with yerrorlines ls 2 title 'REP MOVSB, trapped'
