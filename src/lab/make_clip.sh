#!/bin/sh
# Makes clip.flv, the 10 s that the lab origin loops, from ffmpeg's own sources.
#   sh src/lab/make_clip.sh [OUTPUT]
# Needs Debian's packages ffmpeg (with libx264) and fonts-dejavu-core. One thread and
# "bitexact" everywhere, so that the same ffmpeg makes the same file each time.
#
# What the looping code relies on, and clip.rs checks:
# - H.264 without B frames, 25 frames/s, a key frame exactly every 2 s: HLS segments are cut there
# - AAC at 48 kHz: a frame is 1024 samples, which is a whole number of 90 kHz ticks
# - silence before each full second: the audio frames at the seam may be joined without a click
set -eu
out=${1:-$(dirname "$0")/clip.flv}
font=/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf
label=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
for need in "$font" "$label"; do
    [ -r "$need" ] || { echo "make_clip.sh: $need is missing: apt-get install fonts-dejavu-core" >&2; exit 1; }
done
command -v ffmpeg >/dev/null || { echo "make_clip.sh: ffmpeg is missing: apt-get install ffmpeg" >&2; exit 1; }

# The beep: a tenth of a second at each full second, an octave higher when the clip begins anew,
# with short ramps so that it does not click. 9.98 s and the packet of priming that the encoder puts
# first are 469 frames, the least that cover 10 s.
beep="0.35*sin(2*PI*t*if(lt(t,0.5),1760,880))*clip(mod(t,1)/0.004,0,1)*clip((0.1-mod(t,1))/0.02,0,1)"

# The picture: colour bars under a little grain (for a bit rate like a camera's), the clock, a dial
# that fills once a clip, a lamp that lights with the beep, and a ball whose even way shows stutter.
ffmpeg -hide_banner -loglevel error -y \
    -f lavfi -i "smptehdbars=size=640x360:rate=25:duration=10" \
    -f lavfi -i "color=c=black:size=96x96:rate=25:duration=10" \
    -f lavfi -i "color=c=0xfbbf24:size=36x36:rate=25:duration=10" \
    -f lavfi -i "aevalsrc=exprs='$beep':sample_rate=48000:duration=9.98" \
    -filter_complex "
        [0:v]format=yuv420p,
        drawbox=x=0:y=270:w=640:h=90:color=0x111827@1:t=fill,
        noise=alls=6:allf=t:all_seed=1,
        drawbox=x=100:y=70:w=440:h=160:color=0x0b1220@1:t=fill,
        drawbox=x=100:y=70:w=440:h=160:color=0xe5e7eb@1:t=2,
        drawtext=fontfile=$label:text='srs-stream-proxy lab origin':fontsize=18:fontcolor=0x9ca3af:x=126:y=86,
        drawtext=fontfile=$font:text='%{eif\:floor(n/25)\:d}.%{eif\:floor(mod(n,25)*4)\:d\:2}':fontsize=96:fontcolor=white:x=122:y=122,
        drawbox=x=494:y=82:w=32:h=26:color=0x1f2937@1:t=fill,
        drawbox=x=494:y=82:w=32:h=26:color=0xfbbf24@1:t=fill:enable='lt(mod(n,25),3)'[panel];
        [1:v]format=rgba,geq=
            r='45':g='212':b='191':
            a='255*clip(46-hypot(X-47.5,Y-47.5),0,1)*clip(hypot(X-47.5,Y-47.5)-30,0,1)*
               if(lte(mod(atan2(X-47.5,47.5-Y)+2*PI,2*PI),2*PI*(N+1)/250),1,0.2)'[dial];
        [2:v]format=rgba,geq=r='251':g='191':b='36':a='255*clip(17-hypot(X-17.5,Y-17.5),0,1)'[ball];
        [panel][dial]overlay=x=420:y=120[clock];
        [clock][ball]overlay=x='302-290*cos(PI*t)':y=297,format=yuv420p[v]" \
    -map "[v]" -map 3:a \
    -c:v libx264 -profile:v main -preset veryslow -crf 23 -threads 1 \
    -x264-params "bframes=0:ref=3:keyint=50:min-keyint=50:scenecut=0:open-gop=0" \
    -bsf:v "filter_units=remove_types=6" \
    -c:a aac -ac 1 -b:a 64k -flags +bitexact -fflags +bitexact -f flv "$out"
ls -l "$out"
